//! Running a container behind the caller's back: a runner of its own looks after it and outlives the caller.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{Record, Runtime};
use crate::error::{Context, Error, Result};
use crate::process::tail;
use crate::spawn::Place;
use crate::wait::wait_until;

impl Runtime {
    /// Starts `runner`, a command that ends in [`Runtime::run`] for the container `id` with its output inherited, and returns
    /// once the container runs. The runner has a session of its own in `place`; its output and the container's go to the
    /// end of the container's log. `None`: the container is over already, and ended well.
    ///
    /// Errors: [`Error::Ended`] with the end of what they wrote to the log if the runner or the container failed before it was
    /// seen to run, as when another container has this identity.
    pub fn start_in_background(&self, id: &str, mut runner: Command, place: Place) -> Result<Option<Record>> {
        std::fs::create_dir_all(&self.state).context("make", self.state.display())?;
        let log = self.log(id);
        let file = File::options().create(true).append(true).open(&log).context("open", log.display())?;
        let before = file.metadata().context("read", log.display())?.len();
        let copy = file.try_clone().context("open", log.display())?;
        runner.stdin(Stdio::null()).stdout(copy).stderr(file);
        let mut child = place.session().apply(&mut runner).spawn().context("start the runner of", id)?;
        let found = self.await_record(id, &mut child, before);
        // Whoever lives on after this takes the exit status; otherwise the first process of the machine does.
        thread::spawn(move || child.wait());
        found
    }

    /// `before`: the log's length in bytes when the runner was started.
    fn await_record(&self, id: &str, runner: &mut Child, before: u64) -> Result<Option<Record>> {
        let log = self.log(id);
        let seen =
            wait_until(RUNS_WITHIN, &format!("the container {id} runs"), || match runner.try_wait() {
                Ok(Some(status)) => Some(Err(status)),
                // One that runs already under this name is another's: this runner will say so and end.
                _ => self.find(id).ok().filter(|record| record.runner == runner.id()).map(Ok),
            })?;
        match seen {
            Ok(record) => Ok(Some(record)),
            Err(status) if status.success() => Ok(None),
            Err(status) => Err(Error::Ended {
                process: format!("the runner of {id}"),
                status: status.to_string(),
                tail: tail(&log, before),
                log,
            }),
        }
    }
}

/// Longer than an agent may take to answer.
const RUNS_WITHIN: Duration = Duration::from_secs(40);
