//! Staged transactions on a database: reads and submits what the stages ask for.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::time::timeout;

use super::database::{Committed, Plimsoll, committed};
use super::error::{ReadFailed, StagedError, SubmitError, Uncertain};
use crate::client::staged::{self, Ask, AskId, End, Ended, Invalid, Mailbox, Stage, Staging, Told};
use crate::executor::ReadError;
use crate::id::TransactionId;
use crate::thunk::{Guarded, Thunk};
use crate::transaction::Abort;

/// A staged transaction that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedCommitted<O> {
    /// Its last stage. Everything that the stages saw was so at its timestamp.
    pub committed: Committed<O>,
    /// How often the stages were run: 1 if nothing that they saw had changed.
    pub runs: u32,
    /// Whether what they read had to be reserved.
    pub has_reserved: bool,
}

impl Plimsoll {
    /// A transaction whose reads decide what it reads next and what it writes, under a new id. See [`Plimsoll::staged_as`].
    ///
    /// *Errors*: see [`StagedError`].
    pub async fn staged<T, F>(&self, stages: F) -> Result<StagedCommitted<T::Output>, StagedError>
    where
        T: Thunk,
        F: AsyncFn(Stage) -> Result<T, Abort>,
    {
        self.staged_as(Self::new_id(), Staging::default(), stages).await
    }

    /// A transaction whose reads decide what it reads next and what it writes.
    ///
    /// *Given* an id, under which it takes effect once, however often it is started, also by several at once and with another staging; and an async
    /// closure that reads through the [`Stage`] it is given, all of one snapshot, and ends in a thunk to be submitted, or in a refusal. It may be run
    /// several times, and so must do nothing else that counts. Its first run may miss what was committed just before, see [`Staging::first_read`].
    ///
    /// *Gives* the thunk's output. Thunk and reads have happened at one timestamp: if anything that was read had changed by then, the closure
    /// was run again. The same holds for a refusal.
    ///
    /// *Errors*: see [`StagedError`]. The whole is bounded by the deadline of this handle. After a doubt, start it again under the same id, which gives
    /// its end; [`Plimsoll::resolve`] of that id speaks of the first run alone, and cancels all of it only if it comes before that one's end.
    ///
    /// An `async` closure that borrows from its surroundings gives a future that the compiler does not let be spawned; one of the form
    /// `move |stage| async move { ... }` does.
    ///
    /// *Cost*: a read of the nearest replica without a message for each stage, and one commit, if nothing interferes.
    pub async fn staged_as<T, F>(
        &self,
        id: TransactionId,
        staging: Staging,
        stages: F,
    ) -> Result<StagedCommitted<T::Output>, StagedError>
    where
        T: Thunk,
        F: AsyncFn(Stage) -> Result<T, Abort>,
    {
        let (mailbox, stages) = staged::start(self.shared_registry(), id, Self::new_id(), staging, stages);
        let mut driver = Driver {
            database: self.clone(),
            mailbox,
            working: None,
            submitted: None,
        };
        let stages = pin!(stages);
        let deadline = self.deadline();
        match timeout(deadline, driver.drive(stages)).await {
            Ok(ended) => told::<T>(ended?),
            Err(_) => Err(match driver.submitted {
                Some(id) => StagedError::Submit(SubmitError::Unknown {
                    id,
                    why: Uncertain::Deadline(deadline),
                }),
                None => StagedError::Deadline(deadline),
            }),
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Told, StagedError>> + Send>>;

/// Answers one question after the other, while the stages may wait for something of their own.
struct Driver {
    database: Plimsoll,
    mailbox: Mailbox,
    /// The question that is being answered.
    working: Option<(AskId, Work)>,
    /// The end of the stages that is being submitted.
    submitted: Option<TransactionId>,
}

impl Driver {
    async fn drive(&mut self, mut stages: Pin<&mut impl Future<Output = Ended>>) -> Result<Ended, StagedError> {
        std::future::poll_fn(|context| {
            loop {
                if let Poll::Ready(ended) = stages.as_mut().poll(context) {
                    return Poll::Ready(Ok(ended));
                }
                match self.answer(context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// *Gives* once a question is answered; while none waits it is pending, as the stages are.
    fn answer(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StagedError>> {
        if self.working.is_none() {
            self.working = self.mailbox.take().map(|(id, ask)| {
                self.submitted = match &ask {
                    Ask::Submit(transaction) if Guarded::is(&transaction.thunk) => Some(transaction.id),
                    _ => None,
                };
                (id, work(self.database.clone(), ask))
            });
        }
        let Some((id, working)) = &mut self.working else {
            return Poll::Pending;
        };
        let Poll::Ready(told) = working.as_mut().poll(context) else {
            return Poll::Pending;
        };
        let id = *id;
        self.working = None;
        self.submitted = None;
        Poll::Ready(told.map(|told| self.mailbox.answer(id, told)))
    }
}

fn work(database: Plimsoll, ask: Ask) -> Work {
    Box::pin(async move {
        Ok(match ask {
            Ask::Read(mode, query) => match database.read(mode, query).await {
                Ok(rows) => Told::Rows(rows.at, rows.answer),
                Err(ReadFailed::Snapshot(ReadError::Collected { .. })) => Told::Gone,
                Err(error) => return Err(StagedError::Read(error)),
            },
            Ask::Submit(transaction) => Told::Settled(database.settle(transaction).await.map_err(StagedError::Submit)?),
            Ask::Pause(time) => {
                tokio::time::sleep(time).await;
                Told::Passed
            }
        })
    })
}

/// The typed end.
fn told<T: Thunk>(ended: Ended) -> Result<StagedCommitted<T::Output>, StagedError> {
    let runs = ended.runs;
    match ended.end {
        End::Settled(settlement) => Ok(StagedCommitted {
            committed: committed::<T>(&settlement).map_err(StagedError::Submit)?,
            runs,
            has_reserved: ended.has_reserved,
        }),
        End::Invalid(Invalid::Transaction(invalid)) => Err(StagedError::Submit(invalid.into())),
        End::Invalid(Invalid::Arguments(error)) => Err(StagedError::Submit(error.into())),
        End::Exhausted { keys } => Err(StagedError::Exhausted { runs, keys }),
    }
}
