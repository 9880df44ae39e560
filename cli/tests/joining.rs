//! A host joins a server over TLS with a token, through the command alone, in a network namespace of its own.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use lab::wait_until;

/// A namespace with a link that has the default route, a folder, and the daemons in them.
struct Machine {
    name: String,
    folder: tempfile::TempDir,
    daemons: Vec<Child>,
}

impl Machine {
    fn new(suffix: &str) -> Self {
        let name = format!("sl-join{}{suffix}", std::process::id());
        let machine = Self { name, folder: tempfile::tempdir().unwrap(), daemons: Vec::new() };
        let made = Command::new("ip").args(["netns", "add", &machine.name]).status().unwrap();
        assert!(made.success(), "a network namespace is made");
        let words = "ip link set lo up && ip link add eth0 type veth peer name eth1 && ip link set eth1 up && ip address add 192.0.2.10/24 dev eth0 \
                     && ip link set eth0 up && ip route add default dev eth0";
        assert!(machine.inside(words).status().unwrap().success());
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn inside(&self, words: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "sh", "-c", words]).stdin(Stdio::null());
        for name in ["SEALANE_SERVER", "SEALANE_AGENT", "SEALANE_TENANT", "SEALANE_NAMESPACE", "KUBECONFIG"] {
            command.env_remove(name);
        }
        command.env("SEALANE", env!("CARGO_BIN_EXE_sealane")).env("HERE", self.folder.path());
        command
    }

    fn daemon(&mut self, words: &str, log: &str) {
        let log = fs::File::options().create(true).append(true).open(self.path(log)).unwrap();
        let copy = log.try_clone().unwrap();
        let daemon = self.inside(words).stdout(copy).stderr(log).spawn().unwrap();
        self.daemons.push(daemon);
    }

    /// `sealane` as the admin, by the kubeconfig that the server wrote.
    fn admin(&self, words: &str) -> Output {
        self.inside(&format!("$SEALANE --kubeconfig $HERE/pki/admin.kubeconfig {words}")).output().unwrap()
    }

    #[track_caller]
    fn done(&self, words: &str) -> String {
        let output = self.admin(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let outcome = wait_until(Duration::from_secs(60), what, || {
            if holds(self) {
                Ok(())
            } else {
                Err(format!("{}{}", self.log("server.log"), self.log("agent.log")))
            }
        });
        outcome.unwrap();
    }

    fn serve(&mut self) {
        let here = self.folder.path().display();
        let settings = format!(
            "store = \"{here}/server.redb\"\nsocket = \"{here}/server.sock\"\naudit = \"{here}/audit.log\"\n\
             listen = [\"192.0.2.10:7380\"]\npki = \"{here}/pki\"\n"
        );
        fs::write(self.path("server.toml"), settings).unwrap();
        self.daemon("exec $SEALANE server --config $HERE/server.toml", "server.log");
        self.until("the server answers over TLS", |machine| machine.admin("get tenants").status.success());
    }

    /// The agent `n1`, whose token is in the file `token`.
    fn agent(&mut self) {
        let here = self.folder.path().display();
        let settings = format!(
            "node = \"n1\"\nserver = \"https://192.0.2.10:7380\"\ntoken_file = \"{here}/token\"\nstate_dir = \"{here}/state\"\n\
             socket = \"{here}/agent.sock\"\npin_dir = \"{here}/bpf/sealane\"\ncgroup = \"{here}/cgroup/{}\"\n",
            self.name
        );
        fs::write(self.path("agent.toml"), settings).unwrap();
        for folder in ["bpf", "cgroup"] {
            fs::create_dir_all(self.path(folder)).unwrap();
        }
        let words = format!(
            "mount -t bpf bpf $HERE/bpf && mount -t cgroup2 none $HERE/cgroup && mkdir -p $HERE/cgroup/{} && \
             exec $SEALANE agent --config $HERE/agent.toml",
            self.name
        );
        self.daemon(&words, "agent.log");
    }

    fn connected(&self) -> bool {
        let status = String::from_utf8(self.admin("status").stdout).unwrap();
        status.lines().any(|line| line.starts_with("n1 ") && line.contains("connected"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let pid = daemon.id().to_string();
            // Those that have ended are not there to be told.
            let _ = Command::new("kill").arg(&pid).stderr(Stdio::null()).status();
            let _ = daemon.wait();
        }
        let words = format!("mount -t cgroup2 none $HERE/cgroup && rmdir $HERE/cgroup/{}", self.name);
        let _ = self.inside(&words).stderr(Stdio::null()).status();
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

#[test]
fn a_host_joins_by_a_token_file_is_revoked_and_comes_back_by_a_new_token_alone() {
    let mut machine = Machine::new("a");
    machine.serve();
    let refused = machine.inside("$SEALANE --server https://192.0.2.10:7380 get tenants").output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("wants to know who asks") && told.contains("--kubeconfig"), "{told}");

    machine.agent();
    machine
        .until("the agent says what it lacks", |machine| machine.log("agent.log").contains("token create"));
    let token = machine.done("token create --for node --name n1");
    fs::write(machine.path("token"), &token).unwrap();
    machine.until("the node is connected", Machine::connected);
    let passport = machine.path("state/passport.pem");
    assert_eq!(fs::metadata(&passport).unwrap().permissions().mode() & 0o777, 0o600);
    let first = fs::read_to_string(&passport).unwrap();
    assert!(
        !machine.path("state/join.key").exists(),
        "the key of a join that is over is in the passport alone"
    );
    let listed = machine.done("token list");
    assert!(listed.contains("node n1") && listed.contains("n1 at 20"), "{listed}");
    let secret = token.split('.').nth(1).unwrap();
    assert!(!listed.contains(secret) && !machine.log("agent.log").contains(secret));
    assert!(machine.done("certificate list").starts_with("NODE"));

    machine.done("certificate revoke n1 --reason stolen");
    machine.until("the node is cut off", |machine| !machine.connected());
    machine.until("the node says why", |machine| {
        let here =
            machine.inside("$SEALANE --agent $HERE/agent.sock status --here -o json").output().unwrap();
        String::from_utf8_lossy(&here.stdout).contains("it is revoked")
    });
    assert_eq!(fs::read_to_string(&passport).unwrap(), first, "a token that was used is not used again");

    fs::write(machine.path("token"), machine.done("token create --for node --name n1")).unwrap();
    machine.until("the node is back", Machine::connected);
    assert_ne!(fs::read_to_string(&passport).unwrap(), first);
    let id = token.split('.').next().unwrap();
    assert!(machine.done(&format!("token delete {id}")).contains("deleted"));
    let alice = machine.done("token create --for user alice --group developers --ttl 30m -o json");
    assert!(alice.contains("\"token\""), "{alice}");
}
