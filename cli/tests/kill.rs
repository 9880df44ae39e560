//! The agents and the server are killed at moments nobody chose, while containers come and go. Afterwards every container that was
//! promised a place has it, alone, and nothing else is left anywhere.
#![allow(clippy::unwrap_used)]

mod fabric;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fabric::ask::{Asker, Question, hold};
use fabric::{Fabric, PATIENCE, light};
use lab::echo::{Echo, Listen};
use lab::namespace::Namespace;
use lab::probe::Probe;
use lab::{Host, wait_until};
use record::Labels;
use record::door::Attached;
use serde_json::Value;

/// Numbers that look random and are the same in every run of a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    fn pause(&mut self, most: u64) {
        thread::sleep(Duration::from_millis(self.below(most)));
    }
}

/// A container whose attach was answered.
struct Kept {
    namespace: Namespace,
    attached: Attached,
}

/// What the hosts' users know: who has which address now, and what went wrong.
#[derive(Default)]
struct Book {
    holders: BTreeMap<IpAddr, String>,
    attached: usize,
    /// The reasons that the others were told, and how often.
    refused: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

#[test]
fn whatever_is_killed_whenever_nothing_leaks_and_nothing_that_was_answered_is_lost() {
    let fabric = Fabric::up("kill", HOSTS);
    fabric.apply("default", NETWORK);
    fabric.await_realised("default");
    let pins_before: Vec<BTreeSet<String>> = fabric.nodes().map(|host| pins(&host.pins())).collect();

    let kept = churn_and_kill(&fabric);

    fabric.start().unwrap();
    fabric.await_ready(PATIENCE).unwrap();
    await_exactly(&fabric, &kept);
    for host in fabric.nodes() {
        let own = kept.iter().filter(|((number, _), _)| host.name() == format!("n{number}")).count();
        assert!(own > 0, "no container was kept on {}", host.name());
    }
    everybody_answers(&fabric, &kept);
    for (host, name) in kept.keys() {
        light::detach(fabric.node(*host), name).unwrap();
    }
    let none = BTreeMap::new();
    await_exactly(&fabric, &none);
    let pins_after: Vec<BTreeSet<String>> = fabric.nodes().map(|host| pins(&host.pins())).collect();
    assert_eq!(pins_after, pins_before, "{}", fabric.story());
    // A namespace and a network that anything still holds could not go.
    fabric.done("default", &["delete", "-f", "-"], NETWORK);
    drop(kept);
    fabric.down();
}

/// Containers come and go on every host while the daemons are killed. Gives those that were kept, by host and name.
fn churn_and_kill(fabric: &Fabric) -> BTreeMap<(u16, String), Kept> {
    let (over, book) = (AtomicBool::new(false), Mutex::new(Book::default()));
    let kept = thread::scope(|scope| {
        let churn = |host| {
            let (over, book) = (&over, &book);
            scope.spawn(move || churn(fabric, host, over, book))
        };
        let threads: Vec<_> = (1..=HOSTS).map(churn).collect();
        let mut dice = Dice(SEED);
        for _ in 0..KILLS {
            dice.pause(400);
            let victim = match dice.below(u64::from(HOSTS) + 1) {
                0 => fabric.server(),
                number => fabric.node(u16::try_from(number).unwrap()),
            };
            victim.kill().unwrap();
            dice.pause(200);
            victim.start().unwrap_or_else(|fault| fabric.fail(&lab::report(&fault)));
        }
        over.store(true, Ordering::Relaxed);
        let joined = threads
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|fault| std::panic::resume_unwind(fault)));
        joined.flatten().collect::<BTreeMap<_, _>>()
    });
    let book = book.into_inner().unwrap();
    println!(
        "{KILLS} kills; {} attaches answered, {} containers kept; not answered: {:#?}",
        book.attached,
        kept.len(),
        book.refused
    );
    if !book.wrong.is_empty() {
        fabric.fail(&book.wrong.join("\n"));
    }
    assert!(book.attached > KILLS, "there was something to disturb");
    kept
}

/// Attaches one container after the other to a host. Some are kept; the others, and those whose attach was not answered well, are
/// detached.
fn churn(fabric: &Fabric, host: u16, over: &AtomicBool, book: &Mutex<Book>) -> Vec<((u16, String), Kept)> {
    let mut dice = Dice(u64::from(host));
    let mut kept = Vec::new();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("c{host}-{number}");
        let namespace = Namespace::create(&light::path(&fabric.name(), &name)).unwrap();
        let outcome = light::attach(fabric.node(host), &namespace, "shop", &name, Labels::new());
        let attached = match outcome {
            Ok(attached) => attached,
            Err(fault) => {
                *book.lock().unwrap().refused.entry(reason(&fault)).or_default() += 1;
                leave(fabric, host, &name, &namespace);
                dice.pause(20);
                continue;
            }
        };
        enter(&mut book.lock().unwrap(), &name, &attached);
        if dice.below(3) == 0 && kept.len() < KEPT {
            kept.push(((host, name), Kept { namespace, attached }));
            continue;
        }
        let own: Vec<IpAddr> = attached.addresses.iter().map(|one| one.address).collect();
        book.lock().unwrap().holders.retain(|address, _| !own.contains(address));
        leave(fabric, host, &name, &namespace);
    }
    kept
}

/// The fault without the names of this container.
fn reason(fault: &lab::Error) -> String {
    let words = lab::report(fault);
    let named = |word: &str| word.chars().any(|letter| letter.is_ascii_digit());
    words.split(' ').filter(|word| !named(word)).collect::<Vec<_>>().join(" ")
}

/// Notes who has the addresses; nobody else may have one of them.
fn enter(book: &mut Book, name: &str, attached: &Attached) {
    book.attached += 1;
    for own in &attached.addresses {
        if let Some(other) = book.holders.insert(own.address, name.to_owned()) {
            book.wrong.push(format!("{} was given to {name} while {other} has it", own.address));
        }
    }
}

/// Detaches until that is done, or word of it is left for an agent that is away, and removes the namespace.
fn leave(fabric: &Fabric, host: u16, name: &str, namespace: &Namespace) {
    let detach = || light::detach(fabric.node(host), name).map_err(|fault| lab::report(&fault));
    wait_until(PATIENCE, "the detach is taken", detach).unwrap();
    Namespace::remove(namespace.path()).unwrap();
}

/// Waits until agents, server, links and maps have exactly these containers.
#[track_caller]
fn await_exactly(fabric: &Fabric, kept: &BTreeMap<(u16, String), Kept>) {
    let wanted: BTreeSet<String> = kept.keys().map(|(_, name)| name.clone()).collect();
    let look = || {
        for number in 1..=HOSTS {
            let of_host: Vec<&Attached> = kept
                .iter()
                .filter(|((host, _), _)| *host == number)
                .map(|(_, kept)| &kept.attached)
                .collect();
            has_exactly(fabric, fabric.node(number), &of_host)?;
        }
        let known: BTreeSet<String> = fabric
            .objects("default", "endpoints")
            .iter()
            .map(|one| one["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        if known == wanted {
            Ok(())
        } else {
            Err(format!("the server knows {known:?}, wanted are {wanted:?}"))
        }
    };
    wait_until(PATIENCE, "everybody has what was answered and nothing else", look)
        .unwrap_or_else(|late| fabric.fail(&late));
    fabric.settle();
}

/// Whether the agent, the links and the maps of a host have exactly these attachments, as they were answered.
fn has_exactly(fabric: &Fabric, host: Host<'_>, wanted: &[&Attached]) -> Result<(), String> {
    let name = host.name();
    let place = |one: &Attached| {
        let addresses: Vec<IpAddr> = one.addresses.iter().map(|own| own.address).collect();
        (one.name.clone(), one.host_interface.clone(), one.mac, addresses)
    };
    let listed: BTreeSet<_> = fabric.attachments(host).iter().map(place).collect();
    let answered: BTreeSet<_> = wanted.iter().map(|one| place(one)).collect();
    if listed != answered {
        return Err(format!("{name} lists {listed:?}, answered were {answered:?}"));
    }
    let links: BTreeSet<String> = host
        .namespace()
        .and_then(|namespace| namespace.enter(|| lab::link::Links::open()?.names())?)
        .map_err(|fault| lab::report(&fault))?
        .into_iter()
        .filter(|link| link.len() == "sl00000000".len() && link.starts_with("sl0"))
        .collect();
    let ends: BTreeSet<String> = wanted.iter().map(|one| one.host_interface.clone()).collect();
    if links != ends {
        return Err(format!("{name} has the links {links:?}, wanted are {ends:?}"));
    }
    for (map, each) in [("endpoints_by_link", 1), ("endpoints_by_address", 2), ("endpoints_by_shadow", 2)] {
        let entries = entries(&host.pins(), map);
        if entries != each * wanted.len() {
            return Err(format!("{name} has {entries} entries in {map}, wanted are {}", each * wanted.len()));
        }
    }
    Ok(())
}

/// From one container of each host to all, by both families.
fn everybody_answers(fabric: &Fabric, kept: &BTreeMap<(u16, String), Kept>) {
    let echo = |((_, name), kept): (&(u16, String), &Kept)| {
        Echo::start(&kept.namespace, name, &[Listen::tcp(80), Listen::udp(53)]).unwrap()
    };
    let _echoes: Vec<Echo> = kept.iter().map(echo).collect();
    let mut asked = Vec::new();
    for host in 1..=HOSTS {
        let Some(((_, asker), from)) = kept.iter().find(|((own, _), _)| *own == host) else { continue };
        let mut questions = Vec::new();
        for ((_, name), to) in kept.iter().filter(|((_, name), _)| name != asker) {
            for own in &to.attached.addresses {
                for probe in [Probe::tcp(own.address, 80), Probe::udp(own.address, 53)] {
                    questions.push(Question {
                        what: name.clone(),
                        probe,
                        wanted: Some(name.clone()),
                        seen: None,
                    });
                }
            }
        }
        asked.push((Asker { name: asker.clone(), namespace: from.namespace.clone() }, questions));
    }
    hold(fabric, "every container that was kept answers", &asked);
}

/// How many entries the kernel has in a map that is pinned somewhere below a folder, those of gateways left out: they name no link.
fn entries(folder: &Path, map: &str) -> usize {
    let found: Vec<String> =
        pins(folder).into_iter().filter(|pin| pin.ends_with(&format!("/{map}"))).collect();
    let [pin] = found.as_slice() else { panic!("{map} is pinned at {found:?}") };
    let output = Command::new("bpftool").args(["-j", "map", "dump", "pinned", pin]).output().unwrap();
    assert!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stderr));
    let entries: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names_link = |entry: &&Value| entry["formatted"]["value"]["link"] != 0;
    entries.as_array().unwrap().iter().filter(names_link).count()
}

/// The names of what is pinned below a folder.
fn pins(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(pins(&entry.path()));
        } else {
            found.insert(entry.path().display().to_string());
        }
    }
    found
}

const NETWORK: &str = "
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: wide}
spec:
  subnets: [{cidr: 10.70.0.0/16}, {cidr: 'fd00:70::/64'}]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {sealane.dev/network: wide}}
";

const HOSTS: u16 = 3;
const KILLS: usize = 32;
const SEED: u64 = 20;
/// Containers that each host keeps at most.
const KEPT: usize = 12;
