//! Questions in bulk: who asks whom, who must answer, and what came of it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use lab::namespace::Namespace;
use lab::probe::{Outcome, Probe};

use super::{Fabric, at_once};

/// Who asks, by name and place.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) name: String,
    pub(crate) namespace: Namespace,
}

/// One question.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// What it is about, in words.
    pub(crate) what: String,
    pub(crate) probe: Probe,
    /// The name of who must answer; `None`: nobody may.
    pub(crate) wanted: Option<String>,
    /// As whom the asker must be seen by who answers, port 0 meaning any; `None`: as anybody.
    pub(crate) seen: Option<SocketAddr>,
}

impl Question {
    /// Whether the outcome is the one that is wanted.
    pub(crate) fn is_met(&self, outcome: &Outcome) -> bool {
        match (&self.wanted, outcome) {
            (Some(wanted), Outcome::Answered { by, seen }) => {
                let as_whom = self.seen.is_none_or(|as_whom| {
                    as_whom.ip() == seen.ip() && [0, seen.port()].contains(&as_whom.port())
                });
                by == wanted && as_whom
            }
            (None, Outcome::Answered { .. } | Outcome::Mute) => false,
            (wanted, _) => wanted.is_none(),
        }
    }

    fn wish(&self) -> String {
        match (&self.wanted, self.seen) {
            (None, _) => "nobody answers".to_owned(),
            (Some(by), None) => format!("{by} answers"),
            (Some(by), Some(seen)) => format!("{by} answers and sees {seen}"),
        }
    }
}

/// A question whose outcome is not the one wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    /// Whose question: an index into what was asked.
    pub(crate) asker: usize,
    /// Which of the asker's.
    pub(crate) question: usize,
    /// What was wanted and what was measured.
    pub(crate) text: String,
}

/// Asks everything, each asker's questions together, and gives what is not as it should be. Who must answer has all the time that
/// a busy machine may need; who may not has so long as shows it: longer than TCP's first retransmission.
pub(crate) fn ask(all: &[(Asker, Vec<Question>)]) -> Vec<Wrong> {
    let outcomes = at_once(all, ASKERS, |(asker, questions)| {
        let mut outcomes = vec![Outcome::Silent; questions.len()];
        for (limit, is_wanted) in [(ANSWER, true), (SILENCE, false)] {
            let of_kind = |(_, question): &(usize, &Question)| question.wanted.is_some() == is_wanted;
            let (places, probes): (Vec<usize>, Vec<Probe>) = questions
                .iter()
                .enumerate()
                .filter(of_kind)
                .map(|(place, question)| (place, question.probe))
                .unzip();
            let measured = Probe::send(&probes, &asker.namespace, limit).unwrap();
            places.into_iter().zip(measured).for_each(|(place, outcome)| outcomes[place] = outcome);
        }
        outcomes
    });
    let mut wrong = Vec::new();
    for (place, ((asker, questions), outcomes)) in all.iter().zip(outcomes).enumerate() {
        for (index, (question, outcome)) in questions.iter().zip(outcomes).enumerate() {
            if !question.is_met(&outcome) {
                let (Probe { protocol, to, .. }, wish) = (question.probe, question.wish());
                let (asks, what) = (&asker.name, &question.what);
                let text =
                    format!("{asks} asks {what} ({protocol} {to}): wanted: {wish}; measured: {outcome}");
                wrong.push(Wrong { asker: place, question: index, text });
            }
        }
    }
    wrong
}

/// Asks everything; anything that is not as it should be ends the proof.
#[track_caller]
pub(crate) fn hold(fabric: &Fabric, claim: &str, all: &[(Asker, Vec<Question>)]) {
    let wrong = ask(all);
    if !wrong.is_empty() {
        let asked: usize = all.iter().map(|(_, questions)| questions.len()).sum();
        fabric.fail(&summary(claim, asked, &wrong));
    }
}

/// The first of what is wrong, and how much there is.
pub(crate) fn summary(claim: &str, asked: usize, wrong: &[Wrong]) -> String {
    let mut text = format!("{claim}: {} of {asked} differ", wrong.len());
    for one in wrong.iter().take(SHOWN) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}", one.text);
    }
    text
}

/// Those who wait for answers at a time; waiting costs nothing.
const ASKERS: usize = 64;
const ANSWER: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_millis(1500);
const SHOWN: usize = 40;
