//! A state of the model: the nodes, the frames in flight, and what the properties remember.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use plimsoll::protocol::message::Message;

use crate::history::History;
use crate::host::Host;
use crate::property::{Broken, Reached};

/// A frame in flight.
pub struct Frame {
    /// Its messages.
    pub messages: Vec<Message>,
    hash: u64,
}

/// How much of each bound is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    /// Transactions submitted.
    pub transactions: u8,
    /// Strict reads begun.
    pub reads: u8,
    /// Crashes.
    pub crashes: u8,
    /// Frames that stayed in flight.
    pub duplicates: u8,
    /// Silences.
    pub silences: u8,
}

/// A state of the model. Cheap to clone: what an action does not touch is shared.
#[derive(Clone)]
pub struct State {
    /// The nodes.
    pub hosts: Vec<Arc<Host>>,
    /// The frames in flight of each link, the oldest first.
    links: Vec<Vec<Arc<Frame>>>,
    /// What the properties remember.
    pub history: Arc<History>,
    /// How much of each bound is used.
    pub spent: Spent,
    /// The properties that do not hold.
    pub broken: Broken,
    /// With which words an assertion of the core failed.
    pub failed: Option<Arc<str>>,
    /// How many actions led here since the scene. The first to reach a state in breadth-first order come on a shortest way.
    pub depth: u16,
    /// What has happened.
    pub reached: Reached,
    digest: u64,
}

impl Frame {
    /// A frame of these messages.
    pub fn new(messages: Vec<Message>) -> Self {
        let mut hasher = DefaultHasher::new();
        messages.hash(&mut hasher);
        Self {
            messages,
            hash: hasher.finish(),
        }
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.messages == other.messages
    }
}

impl State {
    /// These nodes, and nothing in flight.
    pub fn new(hosts: Vec<Arc<Host>>, history: History) -> Self {
        Self {
            links: vec![Vec::new(); hosts.len() * hosts.len()],
            hosts,
            history: Arc::new(history),
            spent: Spent::default(),
            broken: Broken::default(),
            failed: None,
            depth: 0,
            reached: Reached::default(),
            digest: 0,
        }
    }

    /// The frames in flight from one node to another.
    pub fn link(&self, from: usize, to: usize) -> &[Arc<Frame>] {
        &self.links[from * self.hosts.len() + to]
    }

    /// Takes a frame off its link.
    pub fn take(&mut self, from: usize, to: usize, place: usize) -> Arc<Frame> {
        let count = self.hosts.len();
        self.links[from * count + to].remove(place)
    }

    /// Puts a frame on its link; the oldest ones beyond `limit` are lost.
    pub fn put(&mut self, from: usize, to: usize, frame: Frame, limit: usize) {
        let count = self.hosts.len();
        let link = &mut self.links[from * count + to];
        link.push(Arc::new(frame));
        let lost = link.len().saturating_sub(limit);
        link.drain(..lost);
    }

    /// Everything in flight is lost.
    pub fn lose_frames(&mut self) {
        self.links.iter_mut().for_each(Vec::clear);
    }

    /// Computes what tells the state from others; it must not change afterwards.
    #[must_use]
    pub fn seal(mut self) -> Self {
        let mut hasher = DefaultHasher::new();
        self.hosts.hash(&mut hasher);
        for link in &self.links {
            link.len().hash(&mut hasher);
            link.iter().for_each(|frame| hasher.write_u64(frame.hash));
        }
        (&self.history, &self.spent, self.broken).hash(&mut hasher);
        self.digest = hasher.finish();
        self.reached = self.history.milestones;
        self
    }

    /// Of a state that nothing follows, only what the properties ask for: most states of a search lie at its depth.
    #[must_use]
    pub fn strip(self) -> Self {
        static NOTHING: LazyLock<Arc<History>> = LazyLock::new(Arc::default);
        Self {
            hosts: Vec::new(),
            links: Vec::new(),
            history: NOTHING.clone(),
            ..self
        }
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

/// By the hash, as the checker compares states too.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, host) in self.hosts.iter().enumerate() {
            match &host.node {
                Some(node) => writeln!(f, "{node:?}")?,
                None => writeln!(f, "{} is down", crate::settings::Settings::node_id(place))?,
            }
        }
        write!(f, "{:?}", self.history)
    }
}
