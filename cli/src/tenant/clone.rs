//! `sealane tenant clone`: a tenant with the same networks, addresses, policies and roles as another.
//!
//! Promises: all faults are told before anything is made; a clone that is cut off bears a mark and goes on where it was when it is
//! asked for again; it is done only when both have been read again and nothing differs.

use std::io::Write;

use clap::Args;
use http::Method;
use intent::object::{DEFAULT_TENANT, SYSTEM_TENANT};
use intent::{Kind, Problem};
use serde_json::{Value, json};

use super::plan::{Action, CLONE_OF, Step, faults, mark, plan, problem};
use crate::client::{Ask, Client, ClientError, JSON, MERGE_PATCH, Place, Query, each};
use crate::failure::{Failure, count};
use crate::object::content::{Content, is_given};
use crate::output::{self, Progress};
use crate::settings::Settings;

/// Make a tenant the same as another
///
/// It gets the same namespaces, networks (with VNIs of their own), policies, roles and bindings; attached containers stay where they
/// are. A tenant that is there already is added to; what differs in it is changed with --overwrite alone. Whatever may go wrong is
/// looked for first. A clone that was cut off is finished by the same command.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane tenant clone production staging    then: sealane diff --tenant production --tenant staging
  sealane tenant clone production staging --dry-run
  sealane tenant clone production staging --overwrite    bring staging to what production is now")]
pub(super) struct Clone {
    /// The tenant that is cloned
    #[arg(value_name = "FROM")]
    from: String,

    /// The tenant that becomes the same
    #[arg(value_name = "TO")]
    to: String,

    /// Change objects of TO that differ from FROM's
    #[arg(long)]
    overwrite: bool,

    /// Ask the server whether it could be done, show it, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Clone {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        self.check_names()?;
        let client = settings.client()?;
        let (source, copy) = self.read(&client, settings)?;
        let steps = self.steps(&source, &copy)?;
        self.try_out(settings, &copy, &steps)?;
        let mut out = output::screen();
        if self.dry_run {
            // What every tenant has from its creation comes by itself with a new one.
            let comes = |step: &&Step| {
                !copy.objects.is_empty() || step.identity.kind == Kind::Tenant || !given(&source, step)
            };
            for step in steps.iter().filter(comes) {
                writeln!(out, "{} (dry run)", self.told(step))?;
            }
            return Ok(());
        }
        let compared = self.carry_out(&client, settings, &mut out)?;
        let (from, to) = (&self.from, &self.to);
        Ok(writeln!(out, "{to} is the same as {from}: {}", count(compared, "object"))?)
    }

    fn check_names(&self) -> Result<(), Failure> {
        if self.from == self.to {
            return Err(Failure::usage(
                format!("{} is named twice", self.from),
                "name the tenant that is cloned, and then a new one",
            ));
        }
        if matches!(&*self.to, DEFAULT_TENANT | SYSTEM_TENANT) {
            let message = format!("{} is always there and becomes nobody's clone", self.to);
            return Err(Failure::usage(message, "choose another name; it is the second that is made"));
        }
        Ok(())
    }

    /// Both as they are; a tenant that is not there holds nothing, not even itself.
    fn read(&self, client: &Client, settings: &Settings) -> Result<(Content, Content), Failure> {
        let source = Content::read(client, settings, &self.from)?;
        let nothing = || Content { tenant: self.to.clone(), objects: Default::default() };
        Ok((source, Content::find(client, &self.to)?.unwrap_or_else(nothing)))
    }

    fn steps(&self, source: &Content, copy: &Content) -> Result<Vec<Step>, Failure> {
        let steps = plan(source, copy);
        let problems = faults(source, copy, &steps, self.overwrite);
        if problems.is_empty() {
            return Ok(steps);
        }
        Err(Failure::Documents { problems, outcome: "nothing was cloned".to_owned() })
    }

    /// Asks the server about every step. What lives in a tenant or namespace that is not there yet cannot be tried before.
    fn try_out(&self, settings: &Settings, copy: &Content, steps: &[Step]) -> Result<(), Failure> {
        let asked = each(&settings.server, steps, |client, step| self.take(client, step, true))?;
        let is_early = |step: &Step| {
            let made = |other: &Step| {
                other.identity.kind == Kind::Namespace
                    && Some(&other.identity.name) == step.identity.namespace.as_ref()
            };
            copy.objects.is_empty() || steps.iter().any(made)
        };
        let mut problems = Vec::new();
        for (step, answer) in steps.iter().zip(asked) {
            match answer {
                Err(error) if error.is_missing() && is_early(step) => {}
                answer => problems.extend(self.refusals(step, answer)?),
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(Failure::Documents { problems, outcome: "nothing was cloned".to_owned() })
    }

    /// Takes the steps until nothing differs; returns how many objects were compared then.
    fn carry_out(&self, client: &Client, settings: &Settings, out: &mut dyn Write) -> Result<usize, Failure> {
        for _ in 0..ROUNDS {
            let (source, copy) = self.read(client, settings)?;
            let steps = self.steps(&source, &copy)?;
            if steps.is_empty() {
                if mark(&copy).is_some() {
                    self.set_mark(client, &Value::Null)?;
                }
                return Ok(source.objects.len());
            }
            if copy.objects.is_empty() {
                // The tenant first: what it has from its creation is not made a second time.
                let itself: Vec<Step> =
                    steps.into_iter().filter(|step| step.identity.kind == Kind::Tenant).collect();
                self.take_all(settings, &itself, out)?;
                continue;
            }
            self.set_mark(client, &json!(self.from))?;
            self.take_all(settings, &steps, out)?;
        }
        let (from, to) = (&self.from, &self.to);
        Err(Failure::Held {
            message: format!("{from} or {to} keeps changing: {to} is not the same yet"),
            remedy: format!("say `sealane tenant clone {from} {to}` again when {from} is at rest"),
        })
    }

    fn take_all(&self, settings: &Settings, steps: &[Step], out: &mut dyn Write) -> Result<(), Failure> {
        let (mut problems, mut done) = (Vec::new(), 0);
        // Kind by kind, for objects live in others.
        for kind in steps.chunk_by(|one, next| one.identity.kind == next.identity.kind) {
            let mut progress = Progress::new();
            progress.count("cloning", done, steps.len());
            let answers = each(&settings.server, kind, |client, step| self.take(client, step, false))?;
            drop(progress);
            done += kind.len();
            for (step, answer) in kind.iter().zip(answers) {
                let refusals = self.refusals(step, answer)?;
                if refusals.is_empty() {
                    writeln!(out, "{}", self.told(step))?;
                }
                problems.extend(refusals);
            }
            if !problems.is_empty() {
                let (from, to) = (&self.from, &self.to);
                let outcome = format!(
                    "{to} is not whole: `sealane tenant clone {from} {to}` goes on, `sealane tenant delete {to}` takes it away"
                );
                return Err(Failure::Documents { problems, outcome });
            }
        }
        Ok(())
    }

    /// Asks the server for one step. That somebody was faster is no fault: the next round looks again.
    fn take(&self, client: &Client, step: &Step, dry_run: bool) -> Result<(), ClientError> {
        let query = Query::default().with("fieldManager", "sealane");
        let query = query.with_some("dryRun", dry_run.then_some("All"));
        let (path, all) = (step.identity.path(&self.to), step.identity.path_of_all(&self.to));
        let delete = Ask::act(Method::DELETE, query.on(&path), None);
        let ask = match &step.action {
            Action::Renew(document) if !dry_run => {
                match client.ask(&delete) {
                    Err(error) if !error.is_missing() => return Err(error),
                    _ => {}
                }
                Ask::act(Method::POST, query.on(&all), Some((JSON, document)))
            }
            Action::Create(document) => Ask::act(Method::POST, query.on(&all), Some((JSON, document))),
            Action::Replace(document) => Ask::act(Method::PUT, query.on(&path), Some((JSON, document))),
            Action::Remove | Action::Renew(_) => delete,
        };
        match client.ask(&ask) {
            Ok(_) => Ok(()),
            Err(ClientError::Refused(status)) if matches!(&*status.reason, "AlreadyExists" | "Conflict") => {
                Ok(())
            }
            Err(error) if error.is_missing() && step.action == Action::Remove => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What the server has against a step.
    fn refusals(&self, step: &Step, answer: Result<(), ClientError>) -> Result<Vec<Problem>, ClientError> {
        let of = format!("{} of {}", step.identity.shown(), self.to);
        match answer {
            Ok(()) => Ok(Vec::new()),
            Err(ClientError::Refused(status)) => {
                let mut problems = status.problems();
                for problem in &mut problems {
                    problem.path = format!("{of}: {}", problem.path);
                }
                if problems.is_empty() {
                    problems.push(problem(of, status.message.clone(), status.remedy().unwrap_or_default()));
                }
                Ok(problems)
            }
            Err(error) => Err(error),
        }
    }

    /// Notes on the tenant that it is a clone under way, or with `null` that it is one no more.
    fn set_mark(&self, client: &Client, value: &Value) -> Result<(), ClientError> {
        let patch = json!({ "metadata": { "annotations": { CLONE_OF: value } } });
        let path = Place { tenant: None, namespace: None }.of(Kind::Tenant, &self.to);
        client.ask(&Ask::act(Method::PATCH, path, Some((MERGE_PATCH, &patch)))).map(drop)
    }

    fn told(&self, step: &Step) -> String {
        let word = match step.action {
            Action::Create(_) => "created",
            Action::Replace(_) => "configured",
            Action::Renew(_) => "made anew",
            Action::Remove => "deleted",
        };
        match step.identity.kind {
            Kind::Tenant => format!("{} {word}", crate::object::title(Kind::Tenant, &self.to)),
            _ => format!("{} {word}", step.identity.shown()),
        }
    }
}

fn given(source: &Content, step: &Step) -> bool {
    source.objects.get(&step.identity).is_some_and(|object| is_given(&step.identity, object))
}

/// How often both are read again before a tenant counts as one that keeps changing.
const ROUNDS: usize = 5;
