//! Questions about the datapath, from the server and from people at the socket.

use std::sync::Arc;

use record::inspect::{Answer, Drops, Question, State};

use crate::attachment::Step;
use crate::cause::chain;
use crate::kernel::KernelError;
use crate::node::{Node, blocking};

impl Node {
    /// Answers a question; what cannot be answered is said.
    pub(crate) async fn answer(self: &Arc<Self>, question: Question) -> Answer {
        let node = Arc::clone(self);
        let answer = blocking(move || node.find_answer(&question)).await;
        answer.unwrap_or_else(|error| Answer::Failed(chain(&error)))
    }

    fn find_answer(&self, question: &Question) -> Result<Answer, KernelError> {
        Ok(match question {
            Question::Judge(packet) => Answer::Judgement(self.kernel.judge(packet)?),
            Question::Flows(filter) => Answer::Flows(self.kernel.flows(filter)?),
            Question::Drops => {
                let (samples, lost) = self.samples.latest();
                Answer::Drops(Drops { counts: self.kernel.drops()?, samples, lost })
            }
            Question::State => {
                let fill = self.kernel.fill()?;
                let ledger = self.ledger();
                let endpoints = u32::try_from(ledger.count(Step::Attached)).unwrap_or(u32::MAX);
                let generation = ledger.held.generation;
                drop(ledger);
                Answer::State(State { generation, endpoints, fill, problems: self.problems() })
            }
        })
    }
}
