//! The clients, and what they measure.
//!
//! A client has one call open at a time. In a closed loop it makes the next when it has its answer; in an open loop calls arrive
//! by a Poisson process, whichever client is free takes the oldest, and latency counts from the arrival.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plimsoll::id::TransactionId;
use plimsoll::runtime::SubmitError;
use plimsoll::transaction::{Abort, Outcome, Settlement};
use plimsoll_sim::history::MicroOperation;
use plimsoll_sim::random::{Seed, Stream};
use plimsoll_sim::workload::{Call, Work, Workload};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

use super::Plan;
use super::cpu::processor_time;
use super::record::{Caller, End, Record};
use super::target::Target;
use crate::command::Failure;

/// How long a client of a closed loop waits after a call that was refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// Between how many the clients share what they measure.
const TALLIES: usize = 16;

/// How often the progress is drawn.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// How calls ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) committed: u64,
    /// By the reason.
    pub(crate) aborted: BTreeMap<String, u64>,
    /// Calls that certainly did nothing.
    pub(crate) refused: Refusals,
    pub(crate) unknown: u64,
    /// Arrivals of an open loop that no client came to before the end.
    pub(crate) unsent: u64,
    /// Answers that no correct database gives, and the first of them.
    pub(crate) wrong_answers: u64,
    pub(crate) wrong_first: Option<String>,
    /// Of what has committed, in microseconds.
    pub(crate) latencies: Latencies,
}

/// Refusals by their reasons, which are few: under overload nearly every call is refused, and all alike.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Vec<(SubmitError, u64)>);

/// Latencies in microseconds, to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// A load on a database.
pub(super) struct Load<'a> {
    pub(super) plan: &'a Plan,
    pub(super) target: &'a Target,
    pub(super) record: Option<Arc<Record>>,
}

/// What a load has measured.
pub(super) struct Done {
    pub(super) measured: Ends,
    pub(super) measured_for: Duration,
    pub(super) cpu: Duration,
    pub(super) whole: Ends,
}

/// What all clients share.
struct Shared {
    workload: Mutex<Box<dyn Workload>>,
    record: Option<Arc<Record>>,
    /// What is measured: from here, and until here.
    from: Instant,
    until: Instant,
    /// What an open loop still waits for ends here.
    patience: Instant,
    /// The next process of the history that nobody has been.
    processes: AtomicU64,
    /// Transactions committed until now, for the progress.
    committed: AtomicU64,
    /// What clients have measured, some clients together: a histogram for each would be gigabytes of many.
    tallies: Vec<Mutex<Tally>>,
}

/// What some clients have measured.
#[derive(Default)]
struct Tally {
    measured: Ends,
    whole: Ends,
}

struct Client {
    shared: Arc<Shared>,
    target: Target,
    process: u64,
    random: Stream,
    /// Random bytes of the ids; not of the seed, or a second run on the same data would repeat those of the first.
    ids: Stream,
    /// Which of the tallies is its.
    tally: usize,
}

/// When calls are to be made.
#[derive(Clone)]
enum Arrivals {
    /// Whenever a client is free.
    Closed,
    /// At these times.
    Open(Arc<Queue>),
}

/// The arrivals that no client has come to.
struct Queue {
    waiting: Mutex<VecDeque<Instant>>,
    /// As many permits as arrivals wait; closed after the last one.
    permits: Semaphore,
}

impl Load<'_> {
    /// Runs all clients to the end.
    pub(super) async fn run(self, workload: Box<dyn Workload>) -> Result<Done, Failure> {
        let plan = self.plan;
        let from = Instant::now() + plan.warm_up;
        let until = from + plan.measured;
        let shared = Arc::new(Shared {
            workload: Mutex::new(workload),
            record: self.record,
            from,
            until,
            patience: until + plan.deadline,
            processes: AtomicU64::new(u64::from(plan.clients)),
            committed: AtomicU64::new(0),
            tallies: (0..TALLIES).map(|_| Mutex::default()).collect(),
        });
        let seed = Seed(plan.seed);
        let arrivals = match plan.rate {
            None => Arrivals::Closed,
            Some(rate) => arrivals(rate, until, seed.stream("arrivals"))?,
        };
        let entropy = Seed(uuid::Uuid::new_v4().as_u64_pair().0);
        let clients: Vec<_> = (0..u64::from(plan.clients))
            .map(|number| {
                let client = Client {
                    shared: Arc::clone(&shared),
                    target: self.target.handle(),
                    process: number,
                    random: seed.stream(&format!("client.{number}")),
                    ids: entropy.stream(&format!("ids.{number}")),
                    tally: number as usize % TALLIES,
                };
                tokio::spawn(client.run(arrivals.clone()))
            })
            .collect();
        let cpu = watch(&shared).await;
        let (mut measured, mut whole) = (Ends::default(), Ends::default());
        for client in clients {
            let ended = client.await;
            ended.map_err(|error| Failure::Failed(format!("a client has panicked: {error}")))?;
        }
        for tally in &shared.tallies {
            let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
            measured.add(tally.measured);
            whole.add(tally.whole);
        }
        if let Arrivals::Open(queue) = arrivals {
            let left = queue.waiting().len() as u64;
            measured.unsent += left;
            whole.unsent += left;
        }
        let measured_for = plan.measured;
        Ok(Done {
            measured,
            measured_for,
            cpu,
            whole,
        })
    }
}

/// Shows the progress until the measured time is over. *Gives* the processor time used within it.
async fn watch(shared: &Shared) -> Duration {
    // It draws nothing unless standard error is a terminal.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
    bar.set_style(style.expect("the template is a constant that parses"));
    let mut before = None;
    loop {
        let now = Instant::now();
        if now >= shared.from && before.is_none() {
            before = Some(processor_time());
        }
        if now >= shared.until {
            break;
        }
        let committed = shared.committed.load(Ordering::Relaxed);
        let phase = if before.is_none() { "warming up" } else { "measuring" };
        let left = (shared.until - now).as_secs_f64();
        bar.set_message(format!("{phase}, {left:.0} s left, {committed} committed"));
        bar.tick();
        let next = if before.is_none() { shared.from } else { shared.until };
        sleep_until(next.min(now + PROGRESS_EVERY)).await;
    }
    let used = processor_time().saturating_sub(before.expect("the measured time begins before it ends"));
    bar.finish_and_clear();
    used
}

/// The arrivals of a Poisson process of this rate, until then.
///
/// They come from a thread of their own: a timer of milliseconds would make them late.
///
/// *Errors* when the machine has no room for the thread.
#[allow(clippy::disallowed_methods, reason = "a measurement follows the real clock")]
fn arrivals(rate: f64, until: Instant, mut random: Stream) -> Result<Arrivals, Failure> {
    let queue = Arc::new(Queue {
        waiting: Mutex::default(),
        permits: Semaphore::new(0),
    });
    let (arriving, begin) = (Arc::clone(&queue), Instant::now());
    let thread = std::thread::Builder::new().name("arrivals".to_owned()).spawn(move || {
        let mut offset_s = 0.0;
        loop {
            offset_s += random.exponential() / rate;
            let next = begin + Duration::from_secs_f64(offset_s);
            if next >= until {
                arriving.permits.close();
                return;
            }
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            arriving.waiting().push_back(next);
            arriving.permits.add_permits(1);
        }
    });
    thread.map_err(|error| Failure::Failed(format!("the thread of the arrivals cannot be started: {error}")))?;
    Ok(Arrivals::Open(queue))
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrivals {
    /// When the next call was meant to be made; none after the last one.
    async fn next(&self, shared: &Shared) -> Option<Instant> {
        match self {
            Self::Closed => {
                let now = Instant::now();
                (now < shared.until).then_some(now)
            }
            Self::Open(queue) => {
                match queue.permits.acquire().await {
                    Ok(permit) => permit.forget(),
                    // Those that wait still have to be seen to.
                    Err(_) if Instant::now() >= shared.patience => return None,
                    Err(_) => {}
                }
                queue.waiting().pop_front()
            }
        }
    }
}

impl Client {
    async fn run(mut self, arrivals: Arrivals) {
        while let Some(intended) = arrivals.next(&self.shared).await {
            let was_refused = self.call(intended).await;
            if was_refused && matches!(arrivals, Arrivals::Closed) {
                sleep(REFUSED_PAUSE).await;
            }
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.shared.tallies[self.tally]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// *Gives* whether it was refused.
    async fn call(&mut self, intended: Instant) -> bool {
        let mut call = {
            let mut workload = self.shared.workload.lock().unwrap_or_else(PoisonError::into_inner);
            workload.transaction(&mut self.random)
        };
        // What is left of the call is what its answer is compared with.
        let Work::Transaction { thunk, arguments } = std::mem::replace(&mut call.work, Work::Read) else {
            unreachable!("a workload's transactions are no reads");
        };
        let id = self.new_id();
        let caller = Caller {
            process: self.process,
            function: call.function,
            id: Some(id),
        };
        if let Some(record) = &self.shared.record {
            record.invoked(&caller, &call.steps);
        }
        let result = self.target.submit(id, thunk, arguments).await;
        let was_refused = matches!(&result, Err(error) if !error.may_have_happened());
        self.on_answer(&call, &caller, intended, result);
        was_refused
    }

    fn on_answer(&mut self, call: &Call, caller: &Caller, intended: Instant, result: Result<Settlement, SubmitError>) {
        let now = Instant::now();
        let is_measured = now >= self.shared.from && now < self.shared.until;
        let was_meant_in_time = intended >= self.shared.from && intended < self.shared.until;
        let end = match result {
            Ok(settlement) => match &settlement.outcome {
                Outcome::Committed(output) => {
                    self.shared.committed.fetch_add(1, Ordering::Relaxed);
                    self.count(is_measured, |ends| ends.committed += 1);
                    if was_meant_in_time {
                        self.tally().measured.latencies.record(now - intended);
                    }
                    match call.steps_of_output(output) {
                        Ok(steps) => {
                            self.record(caller, steps, End::Ok(settlement.effective));
                            return;
                        }
                        Err(error) => {
                            self.wrong_answer(caller, &error);
                            End::Unknown(error.to_string())
                        }
                    }
                }
                Outcome::Aborted(abort) => {
                    if !matches!(abort, Abort::Refused(_)) {
                        self.wrong_answer(caller, abort);
                    }
                    let reason = abort.to_string();
                    self.count(is_measured, |ends| {
                        *ends.aborted.entry(reason.clone()).or_default() += 1
                    });
                    End::Failed(format!("aborted: {abort}"))
                }
            },
            Err(error) if error.may_have_happened() => {
                // It may end long after the measured time: what counts is when it was meant to be made.
                self.count(was_meant_in_time, |ends| ends.unknown += 1);
                End::Unknown(error.to_string())
            }
            Err(error) => {
                self.count(is_measured, |ends| ends.refused.add(&error, 1));
                if self.shared.record.is_none() {
                    return;
                }
                End::Failed(error.to_string())
            }
        };
        let is_unknown = matches!(end, End::Unknown(_));
        self.record(caller, call.steps.clone(), end);
        if is_unknown {
            // The process may be at work for ever: this client goes on as another one.
            self.process = self.shared.processes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn record(&self, caller: &Caller, steps: Vec<MicroOperation>, end: End) {
        if let Some(record) = &self.shared.record {
            record.ended(caller, steps, end);
        }
    }

    /// Counts in the whole run, and in the measured time if it is then.
    fn count(&self, is_measured: bool, mut add: impl FnMut(&mut Ends)) {
        let mut tally = self.tally();
        add(&mut tally.whole);
        if is_measured {
            add(&mut tally.measured);
        }
    }

    fn wrong_answer(&self, caller: &Caller, what: &dyn std::fmt::Display) {
        let mut tally = self.tally();
        tally.whole.wrong_answers += 1;
        let Caller { process, function, .. } = caller;
        tally
            .whole
            .wrong_first
            .get_or_insert_with(|| format!("{function} of client process {process}: {what}"));
    }

    #[allow(clippy::disallowed_methods, reason = "an id tells when it was made")]
    fn new_id(&mut self) -> TransactionId {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = now.map_or(0, |since| since.as_millis() as u64);
        let mut random = [0; 10];
        self.ids.fill(&mut random);
        TransactionId::from_parts(millis, random)
    }
}

impl Ends {
    /// Transactions that their thunk refused, for whatever reason.
    pub(crate) fn aborted_all(&self) -> u64 {
        self.aborted.values().sum()
    }

    /// Calls that did nothing, for whatever reason.
    pub(crate) fn refused_all(&self) -> u64 {
        self.refused.0.iter().map(|(_, count)| count).sum()
    }

    fn add(&mut self, other: Self) {
        self.committed += other.committed;
        self.unknown += other.unknown;
        self.unsent += other.unsent;
        self.wrong_answers += other.wrong_answers;
        self.wrong_first = self.wrong_first.take().or(other.wrong_first);
        for (reason, count) in other.aborted {
            *self.aborted.entry(reason).or_default() += count;
        }
        for (reason, count) in &other.refused.0 {
            self.refused.add(reason, *count);
        }
        self.latencies
            .0
            .add(&other.latencies.0)
            .expect("the histogram grows to whatever it is given");
    }
}

impl Refusals {
    fn add(&mut self, reason: &SubmitError, count: u64) {
        match self.0.iter_mut().find(|(known, _)| known == reason) {
            Some((_, known)) => *known += count,
            None => self.0.push((reason.clone(), count)),
        }
    }

    /// How many there were, by what is said of them.
    pub(crate) fn by_text(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (reason, count) in &self.0 {
            *all.entry(reason.to_string()).or_default() += count;
        }
        all
    }
}

impl Latencies {
    fn record(&mut self, latency: Duration) {
        self.0
            .record(latency.as_micros() as u64)
            .expect("the histogram grows to whatever it is given");
    }

    /// The latency that `quantile` (0 to 1) of the calls stayed within, in milliseconds; absent where there were none.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(quantile) as f64 / 1e3)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three digits are within what the histogram accepts"))
    }
}
