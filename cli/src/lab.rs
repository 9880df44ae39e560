//! `sealane lab`: a fleet of hosts in network namespaces of this machine.

use std::io::Write;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use lab::container::{exit_code, identity};
use lab::signal::Caught;
use lab::{Family, Lab, Options};

use crate::capability;
use crate::door::run::Run;
use crate::failure::Failure;
use crate::output::{self, Columns, Progress};
use crate::settings::Settings;

/// A fleet of hosts in network namespaces of this machine
///
/// A lab is some hosts with an agent each, a server, and a world outside, joined by a network. It is made and removed without
/// a trace, and what runs in it is the same software as on real hosts.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane lab up --nodes 3
  sealane lab run n1 --name web -l app=web -d -- nginx -g 'daemon off;'
  sealane lab exec default/web -- ip address
  sealane lab kubeconfig > lab.conf && KUBECONFIG=lab.conf kubectl get endpoints
  sealane lab host n2 -- ping -c 1 172.31.0.1
  sealane lab down")]
pub(crate) struct LabArgs {
    /// Which lab of this machine
    #[arg(long = "lab", global = true, default_value = "lab", value_name = "NAME")]
    lab: String,

    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Make a lab and start what runs in it
    #[command(
        after_help = "Examples:\n  sealane lab up --nodes 3\n  sealane lab up --nodes 5 --family v6 --mtu 9000 --lab big"
    )]
    Up(Up),
    /// Remove a lab wholly; also one whose owner was killed
    #[command(after_help = "Examples:\n  sealane lab down\n  sealane lab down --all")]
    Down {
        /// Every lab of this machine
        #[arg(long)]
        all: bool,
    },
    /// Run a command on a virtual network, on one of the hosts
    #[command(
        after_help = "Examples:\n  sealane lab run n1 --name web -l app=web -d -- nginx -g 'daemon off;'\n  sealane lab run n2 --name client -n shop -- curl http://10.201.0.2"
    )]
    Run {
        /// The host: n1, n2, ...
        node: String,
        #[command(flatten)]
        run: Run,
    },
    /// Run a command inside a container
    #[command(
        after_help = "Examples:\n  sealane lab exec default/web -- ip address\n  sealane lab exec --tenant acme shop/db -- sh"
    )]
    Exec {
        /// NAMESPACE/NAME, or NAME in the namespace of -n
        container: String,
        /// The command and its arguments, after --
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Run a command on a host: n1, n2, ..., server or world
    #[command(
        after_help = "Examples:\n  sealane lab host n1 -- ip link\n  sealane lab host world -- python3 -m http.server 80"
    )]
    Host {
        /// The host
        host: String,
        /// The command and its arguments, after --
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Print how kubectl and other clients of Kubernetes reach the server
    #[command(
        after_help = "Examples:\n  sealane lab kubeconfig > lab.conf && KUBECONFIG=lab.conf kubectl get virtualnetworks"
    )]
    Kubeconfig,
    /// Show the hosts, their daemons and containers
    #[command(after_help = "Examples:\n  sealane lab show\n  sealane lab show --all")]
    Show {
        /// The names of all labs of this machine
        #[arg(long)]
        all: bool,
    },
}

#[derive(Args, Debug)]
struct Up {
    /// How many hosts
    #[arg(long, default_value_t = 3, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=4000))]
    nodes: u16,

    /// The address families of the network between hosts
    #[arg(long, value_enum, default_value_t = Families::Both, value_name = "FAMILY")]
    family: Families,

    /// The largest packet of the network between hosts, in bytes
    #[arg(long, default_value_t = 1500, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1280..=65_535))]
    mtu: u32,

    /// Hosts alone, without server and agents
    #[arg(long)]
    bare: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Both,
}

impl LabArgs {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let lab = || Lab::open(&self.lab);
        if !matches!(self.command, LabCommand::Kubeconfig | LabCommand::Show { .. }) {
            capability::require("lab", &[capability::NAMESPACES, capability::LINKS])?;
        }
        match &self.command {
            LabCommand::Up(up) => up.run(&self.lab),
            LabCommand::Down { all } => self.down(*all),
            LabCommand::Run { node, run } => {
                let lab = lab()?;
                let host = lab.host(node)?;
                let place = host.place()?;
                let runtime = host.runtime()?;
                runtime.sweep()?;
                run.start(settings, &runtime, || place)
            }
            LabCommand::Exec { container, command } => {
                let (namespace, name) = match container.split_once('/') {
                    Some((namespace, name)) => (Some(namespace), name),
                    None => (settings.namespace.as_deref(), container.as_str()),
                };
                let id = identity(settings.tenant.as_deref(), namespace, name)?;
                let lab = lab()?;
                let (_, record) = lab.find(&id)?;
                execute(command, |program| record.command(program))
            }
            LabCommand::Host { host, command } => {
                let lab = lab()?;
                let host = lab.host(host)?;
                execute(command, |program| host.command(program))
            }
            LabCommand::Kubeconfig => {
                let text = lab()?.kubeconfig(settings.tenant.as_deref())?;
                Ok(output::screen().write_all(text.as_bytes())?)
            }
            LabCommand::Show { all: true } => {
                let mut out = output::screen();
                Lab::all().iter().try_for_each(|name| writeln!(out, "{name}"))?;
                Ok(())
            }
            LabCommand::Show { all: false } => show(&lab()?),
        }
    }

    fn down(&self, all: bool) -> Result<(), Failure> {
        let names = if all { Lab::all() } else { vec![self.lab.clone()] };
        let mut out = output::screen();
        for name in names {
            let mut progress = Progress::new();
            progress.show(&format!("removing lab {name}"));
            let found = lab::down(&name)?;
            drop(progress);
            writeln!(out, "lab {name} {}", if found { "is removed" } else { "is not there" })?;
        }
        Ok(())
    }
}

impl Up {
    fn run(&self, name: &str) -> Result<(), Failure> {
        let binary = std::env::current_exe().map_err(|source| Failure::Process {
            operation: "find",
            object: "this program".to_owned(),
            source,
        })?;
        let family = match self.family {
            Families::V4 => Family::V4,
            Families::V6 => Family::V6,
            Families::Both => Family::Both,
        };
        let mut progress = Progress::new();
        progress.show(&format!(
            "making lab {name} with {}",
            crate::failure::count(usize::from(self.nodes), "host")
        ));
        let binary = (!self.bare).then_some(binary);
        let options = Options {
            name: name.to_owned(),
            nodes: self.nodes,
            family,
            mtu: self.mtu,
            binary,
            ..Options::default()
        };
        // A lab whose maker was killed has nobody else who would remove it.
        lab::sweep()?;
        let mut caught = Caught::install()?;
        let lab = Lab::up(options)?;
        let interrupted =
            caught.pending() || (!self.bare && self.await_ready(&lab, &mut caught, &mut progress)?);
        if interrupted {
            drop(progress);
            lab.down()?;
            return Err(Failure::Interrupted(format!("lab {name} is removed again")));
        }
        let lab = lab.keep()?;
        drop(progress);
        let mut out = output::screen();
        let hosts = lab.nodes().map(|host| host.name()).collect::<Vec<_>>().join(", ");
        writeln!(out, "lab {name} is up with the hosts {hosts}, server and world")?;
        if let Some(api) = lab.api() {
            writeln!(out, "its server answers at unix:{} and http://{api}", lab.server_socket().display())?;
        }
        Ok(())
    }
}

impl Up {
    /// Waits for the agents; whether somebody asked to end before they were there.
    fn await_ready(&self, lab: &Lab, caught: &mut Caught, progress: &mut Progress) -> Result<bool, Failure> {
        progress.show("waiting for the agents");
        let end = Instant::now() + READY_WITHIN;
        loop {
            let outcome = lab.await_ready(READY_POLL);
            if caught.pending() {
                return Ok(true);
            }
            match outcome {
                Ok(()) => return Ok(false),
                Err(late) if Instant::now() > end => return Err(late.into()),
                Err(_) => {}
            }
        }
    }
}

fn show(lab: &Lab) -> Result<(), Failure> {
    let mut hosts = Columns::new(["host", "address", "daemon", "containers"]);
    for host in std::iter::once(lab.server()).chain(lab.nodes()) {
        let daemon = host.daemon().filter(|daemon| daemon.alive());
        let daemon = daemon.map_or("not running".to_owned(), |daemon| format!("process {}", daemon.pid));
        let containers: Vec<String> = host.runtime()?.list()?.into_iter().map(|record| record.id).collect();
        hosts.row([host.name(), host.address(true).to_string(), daemon, containers.join(" ")]);
    }
    Ok(hosts.write(&mut output::screen())?)
}

/// Runs a command to its end, with its exit code.
fn execute(words: &[String], prepare: impl FnOnce(&str) -> lab::Result<Command>) -> Result<(), Failure> {
    let (program, arguments) =
        words.split_first().map_or(("", &words[..0]), |(first, rest)| (first.as_str(), rest));
    let status: ExitStatus = prepare(program)?
        .args(arguments)
        .status()
        .map_err(|source| Failure::Process { operation: "run", object: program.to_owned(), source })?;
    match exit_code(status) {
        0 => Ok(()),
        code => Err(Failure::Code(code)),
    }
}

const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether somebody asks to end.
const READY_POLL: Duration = Duration::from_millis(300);
