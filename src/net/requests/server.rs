//! The answering end: reads requests, has them handled, and writes answers as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Kind, Malformed, Parcel, READ_BYTES};
use crate::net::endpoint::{Close, Shared};
use crate::net::name::Caller;
use crate::net::refused::Cause;
use crate::net::service::Service;

/// Bytes of answers that are put together for one write, unless the first alone has more.
const WRITE_BYTES: usize = 256 << 10;

/// The bytes of requests and answers that a connection makes this end hold.
struct Ledger {
    bytes_max: usize,
    bytes: AtomicUsize,
    freed: Notify,
}

impl Ledger {
    fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            bytes: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let ledger = Arc::clone(self);
        Held { ledger, bytes }
    }

    /// Waits until more may be held. Only one waits, so that a mark which was left is its own.
    async fn room(&self) {
        while self.bytes.load(Ordering::Acquire) >= self.bytes_max {
            self.freed.notified().await;
        }
    }
}

/// Bytes that are in the ledger while this is there.
struct Held {
    ledger: Arc<Ledger>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ledger.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.ledger.freed.notify_one();
    }
}

/// An answer, and the right to work on a request, which is free again once the answer is written.
struct Answered {
    parcel: Parcel,
    _permit: OwnedSemaphorePermit,
    _held: Held,
}

/// The duty to answer one request. If it is dropped, the caller is told that there is no answer.
struct Duty {
    number: u64,
    bytes_max: usize,
    answers: UnboundedSender<Answered>,
    permit: Option<OwnedSemaphorePermit>,
    /// The request's, while it is worked on.
    held: Held,
}

impl Duty {
    fn answer(mut self, bytes: Vec<u8>) {
        if bytes.len() > self.bytes_max {
            tracing::warn!(bytes = bytes.len(), limit = self.bytes_max, "an answer is too large");
            self.hand_over(Kind::AnswerTooLarge, Vec::new());
        } else {
            self.hand_over(Kind::Answer, bytes);
        }
    }

    fn hand_over(&mut self, kind: Kind, bytes: Vec<u8>) {
        let number = self.number;
        if let Some(permit) = self.permit.take() {
            let answered = Answered {
                _permit: permit,
                _held: self.held.ledger.hold(bytes.len()),
                parcel: Parcel { number, kind, bytes },
            };
            // The connection may have ended in the meantime, and nobody waits any more.
            let _ = self.answers.send(answered);
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.hand_over(Kind::NoAnswer, Vec::new());
    }
}

/// Answers the requests of one stream until it ends. If its caller ends it, those that came are still answered.
pub(in crate::net) async fn serve(
    shared: &Shared,
    connection: &Connection,
    caller: Caller,
    (mut sending, receiving): (SendStream, RecvStream),
    service: &Service,
) {
    let (answers, answered) = unbounded_channel();
    let mut handled = JoinSet::new();
    let writing = write_answers(shared, &mut sending, answered);
    tokio::pin!(writing);
    let read = tokio::select! {
        read = read_requests(shared, caller, receiving, service, answers, &mut handled) => read,
        slow = &mut writing => {
            return if slow == Err(NotRead) { Close::AnswersNotRead.apply(connection) };
        }
    };
    match read {
        Ok(()) => {
            if writing.await == Err(NotRead) {
                Close::AnswersNotRead.apply(connection);
            }
        }
        Err(Malformed) => {
            tracing::warn!(%caller, "a request is refused, and its connection closed");
            shared.refusals.count(Cause::MalformedRequest);
            Close::Refused(Cause::MalformedRequest).apply(connection);
        }
    }
}

/// *Errors*: what came is no request. A stream that ends, or whose connection does, is none.
async fn read_requests(
    shared: &Shared,
    caller: Caller,
    mut stream: RecvStream,
    service: &Service,
    answers: UnboundedSender<Answered>,
    handled: &mut JoinSet<()>,
) -> Result<(), Malformed> {
    let permits = Arc::new(Semaphore::new(shared.bounds.requests_max));
    let ledger = Ledger::new(shared.bounds.requests_bytes_max);
    let mut buffer = BytesMut::new();
    loop {
        match stream.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
            Ok(None) if buffer.is_empty() => return Ok(()),
            Ok(None) => return Err(Malformed),
            Err(_) => return Ok(()),
        }
        while let Some(Parcel { number, kind, bytes }) = Parcel::take(&mut buffer, shared.bounds.request_bytes_max)? {
            if kind != Kind::Request {
                return Err(Malformed);
            }
            // Beyond the bounds nothing more is read, which the caller feels.
            ledger.room().await;
            let permit = Arc::clone(&permits).acquire_owned().await;
            let duty = Duty {
                number,
                bytes_max: shared.bounds.answer_bytes_max,
                answers: answers.clone(),
                permit: Some(permit.expect("the semaphore is never closed")),
                held: ledger.hold(bytes.len()),
            };
            let answering = service.answer(caller, bytes);
            handled.spawn(async move { duty.answer(answering.await) });
            while handled.try_join_next().is_some() {}
        }
        if buffer.is_empty() && buffer.capacity() > 2 * READ_BYTES {
            buffer = BytesMut::new();
        }
    }
}

/// Who asks does not take the answers.
#[derive(Debug, PartialEq, Eq)]
struct NotRead;

/// Writes answers until there can be no more, or the connection ends.
async fn write_answers(
    shared: &Shared,
    stream: &mut SendStream,
    mut answered: UnboundedReceiver<Answered>,
) -> Result<(), NotRead> {
    let mut out = Vec::new();
    while let Some(first) = answered.recv().await {
        out.clear();
        first.parcel.write(&mut out);
        let mut written = vec![first];
        while out.len() < WRITE_BYTES
            && let Ok(next) = answered.try_recv()
        {
            next.parcel.write(&mut out);
            written.push(next);
        }
        match timeout(shared.bounds.answer_time_max, stream.write_all(&out)).await {
            Ok(Ok(())) => {}
            // The connection has ended, or its caller wants no more answers.
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(NotRead),
        }
        if out.capacity() > 4 * WRITE_BYTES {
            out = Vec::new();
        }
    }
    // It is finished here and nowhere else.
    drop(stream.finish());
    Ok(())
}
