//! `make bench`: Sealane beside its baselines, measured by turns on one machine.
//!
//! Writes `target/bench/summary.json` (a list of [`row::Row`]), `samples.csv` (every sample) and `setting.txt` (the machine, the
//! commands that made the baselines) and prints the table. A goal that is missed is told (`met: false`); a row that could not be
//! measured fails the run. `docs/design/0006-measuring.md` says why it is done so.
//!
//! - `BENCH_QUICK=1`: a few short windows, to see that everything works; its numbers mean nothing.
//! - `SEALANE`: the program that is measured, if not the one built with this; `sealane-cni` lies beside it.
//! - `SEALANE_BENCH_LAB`: the lab's name, for whoever removes what an interrupted run leaves.

mod attach;
mod baseline;
mod denial;
mod fault;
mod ground;
mod pin;
mod row;
mod statistic;
mod traffic;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use attach::Attacher;
use baseline::{Baselines, Link};
use denial::Crowd;
use fault::{Context, Fault, Result, report};
use ground::Ground;
use pin::{Foremost, Processors};
use row::{Beside, Row, Series, System};
use traffic::{Ends, Load, is_denied};

/// How much is measured.
#[derive(Clone, Copy)]
struct Amount {
    /// Rounds of each load.
    loads: usize,
    /// One window of a load.
    window: Duration,
    /// Rounds of attachments.
    attachments: usize,
    /// Denials.
    denials: usize,
}

/// What has been measured so far.
#[derive(Default)]
struct Findings {
    rows: Vec<Row>,
    samples: String,
    faults: Vec<String>,
}

fn main() -> ExitCode {
    let quick = std::env::var_os("BENCH_QUICK").is_some_and(|value| value == "1");
    let mut findings = Findings::default();
    if let Err(fault) = measure(if quick { QUICK } else { FULL }, &mut findings) {
        findings.faults.push(report(&fault));
    }
    if let Err(fault) = findings.save() {
        findings.faults.push(report(&fault));
    }
    println!("\n{}", row::table(&findings.rows));
    for name in ROWS.iter().filter(|name| !findings.rows.iter().any(|row| row.name == **name)) {
        findings.faults.push(format!("the row {name} is missing"));
    }
    for fault in &findings.faults {
        eprintln!("error: {fault}");
    }
    println!("samples, summary and commands are in {}", folder().display());
    if findings.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(amount: Amount, findings: &mut Findings) -> Result<()> {
    let name = std::env::var("SEALANE_BENCH_LAB").unwrap_or_else(|_| format!("bench{}", std::process::id()));
    let processors = Processors::choose()?;
    let _foremost = Foremost::raise()?;
    let binary = std::env::var_os("SEALANE").unwrap_or_else(|| env!("CARGO_BIN_EXE_sealane").into());
    let binary = &PathBuf::from(binary);
    let ground = Ground::new(&name, binary)?;
    ground.apply(&ground::policy())?;
    let (here, across) = (ground.pair("here", 1, 1)?, ground.pair("across", 1, 2)?);
    ground.sealane_says(&["status", "--wait"], "")?;
    let link = Link::of(&here.ends.client)?;
    let mut baselines = Baselines { ground: &ground, mtu: link.mtu, commands: Vec::new() };
    let (bare, bridge, vxlan) = (baselines.bare()?, baselines.bridge()?, baselines.vxlan()?);
    let attachers = [
        Attacher::door(&ground)?,
        Attacher::sealane_cni(&ground, &binary.with_file_name("sealane-cni"))?,
        Attacher::reference(&ground)?,
    ];
    describe(&baselines.commands, &attachers, &link, processors)?;
    for ends in [&here.ends, &across.ends, &bare, &bridge, &vxlan] {
        link.check(ends)?;
    }
    for ends in [&here.ends, &across.ends, &bridge, &vxlan] {
        if !is_denied(ends)? {
            let reason = "does not drop what its policy forbids".to_owned();
            return Err(Fault::Unfair { system: ends.system.to_owned(), reason });
        }
    }
    let local = [&here.ends, &bridge, &bare];
    let overlay = [&across.ends, &vxlan];
    for (load, measure, rows) in LOCAL {
        findings.add(run_load(load, measure, &local, (amount, processors)), |series| {
            rows.map(|beside| series.rate(beside)).to_vec()
        });
    }
    for (load, measure, beside) in OVERLAY {
        findings
            .add(run_load(load, measure, &overlay, (amount, processors)), |series| vec![series.rate(beside)]);
    }
    ground.prefer_daemons()?;
    findings.add(run_attachments(&attachers, amount), |series| {
        ATTACH.map(|(beside, share)| series.latency(beside, share)).to_vec()
    });
    findings.add(run_denials(&ground, amount), |series| vec![series.lone("policy-deny", DENIED_WITHIN)]);
    Ok(())
}

fn run_load(
    load: Load,
    measure: &'static str,
    all: &[&Ends],
    (amount, processors): (Amount, Processors),
) -> Result<Series> {
    println!("measuring {measure}");
    let windows: Vec<_> =
        all.iter().map(|ends| move || load.window(ends, processors, amount.window)).collect();
    let systems: Vec<System<'_>> =
        all.iter().zip(&windows).map(|(ends, window)| (ends.system, window as _)).collect();
    Series::take(measure, load.unit(), &systems, amount.loads)
}

fn run_attachments(attachers: &[Attacher; 3], amount: Amount) -> Result<Series> {
    println!("measuring attach");
    // The first attachment of a host makes what the others find.
    attachers.iter().try_for_each(|attacher| attacher.sample().map(drop))?;
    let [door, plugin, reference] = attachers.each_ref().map(|attacher| || attacher.sample());
    let systems: [System<'_>; 3] = [
        ("sealane's door", &door),
        ("sealane-cni", &plugin),
        ("CNI bridge plugin with host-local", &reference),
    ];
    Series::take("attach", "ms", &systems, amount.attachments)
}

fn run_denials(ground: &Ground, amount: Amount) -> Result<Series> {
    println!("measuring policy-deny");
    let crowd = Crowd::new(ground)?;
    let sample = || crowd.sample();
    Series::take("policy-deny", "ms", &[(ground::SYSTEM, &sample)], amount.denials)
}

impl Findings {
    /// Keeps what was measured, also if the run ends before the rest is.
    fn add(&mut self, taken: Result<Series>, rows: impl FnOnce(&Series) -> Vec<Row>) {
        let kept = taken.and_then(|series| {
            self.samples += &series.csv();
            self.rows.extend(rows(&series));
            self.save()
        });
        // The other rows are worth having.
        self.faults.extend(kept.err().map(|fault| report(&fault)));
    }

    fn save(&self) -> Result<()> {
        let summary = serde_json::to_string_pretty(&self.rows).expect("rows have no keys but strings");
        write("summary.json", &(summary + "\n"))?;
        write("samples.csv", &format!("{}{}", row::HEADER, self.samples))
    }
}

/// Prints and keeps what whoever doubts the numbers needs to know.
fn describe(commands: &[String], attachers: &[Attacher], link: &Link, processors: Processors) -> Result<()> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let mut text = format!(
        "Linux {}, load {}\nprocessor {} for both ends, streams from {} to {}\nevery container's link: {link:?}\n\n\
         Commands that made the baselines, after the namespace that each ran in:\n",
        read("/proc/sys/kernel/osrelease"),
        read("/proc/loadavg"),
        processors.second,
        processors.first,
        processors.second,
    );
    for command in commands {
        text += &format!("  {command}\n");
    }
    text += "Attachments:\n";
    for attacher in attachers {
        text += &format!("  {}\n", attacher.describe());
    }
    println!("{text}");
    write("setting.txt", &text)
}

fn write(name: &str, text: &str) -> Result<()> {
    let path = folder().join(name);
    fs::create_dir_all(folder()).context("make", folder().display())?;
    fs::write(&path, text).context("write", path.display())
}

/// `target/bench`: two above the programs that cargo builds.
fn folder() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_sealane"));
    binary.ancestors().nth(2).unwrap_or(Path::new("target")).join("bench")
}

const fn beside(name: &'static str, baseline: usize, goal: f64) -> Beside {
    Beside { name, own: 0, baseline, goal: Some(goal) }
}

/// On one host: beside the bridge with nftables, and beside a bare veth pair.
const LOCAL: [(Load, &str, [Beside; 2]); 3] = [
    (Load::Requests, "rr-local", [beside("rr-local-bridge", 1, 1.15), beside("rr-local-bare", 2, 0.95)]),
    (Load::Connections, "crr-local", [beside("crr-local-bridge", 1, 1.1), beside("crr-local-bare", 2, 0.92)]),
    (
        Load::Stream,
        "stream-local",
        [beside("stream-local-bridge", 1, 1.05), beside("stream-local-bare", 2, 0.95)],
    ),
];

/// Between two hosts: beside the kernel's VXLAN with bridge and nftables.
const OVERLAY: [(Load, &str, Beside); 3] = [
    (Load::Requests, "rr-overlay", beside("rr-overlay", 1, 1.2)),
    (Load::Connections, "crr-overlay", beside("crr-overlay", 1, 1.15)),
    (Load::Stream, "stream-overlay", beside("stream-overlay", 1, 1.0)),
];

/// Quantiles of attachments beside the reference plugin: the door's, and those of Sealane's own plugin, run the same way.
const ATTACH: [(Beside, f64); 3] = [
    (Beside { name: "attach-p50", own: 0, baseline: 2, goal: Some(2.0) }, 0.5),
    (Beside { name: "attach-p99", own: 0, baseline: 2, goal: None }, 0.99),
    (Beside { name: "attach-cni-p50", own: 1, baseline: 2, goal: Some(2.0) }, 0.5),
];

/// In ms: what Sealane promises.
const DENIED_WITHIN: f64 = 1000.0;

/// What the summary must hold.
const ROWS: [&str; 13] = [
    "rr-local-bridge",
    "rr-local-bare",
    "crr-local-bridge",
    "crr-local-bare",
    "stream-local-bridge",
    "stream-local-bare",
    "rr-overlay",
    "crr-overlay",
    "stream-overlay",
    "attach-p50",
    "attach-p99",
    "attach-cni-p50",
    "policy-deny",
];

const FULL: Amount = Amount { loads: 40, window: Duration::from_millis(400), attachments: 100, denials: 15 };
const QUICK: Amount = Amount { loads: 3, window: Duration::from_millis(100), attachments: 5, denials: 2 };
