//! Bugs on purpose, for the model check and the sweep: whoever claims to find bugs must be seen to find these.
//!
//! Each is one decision of the core taken wrongly, at the place where it is taken. Without the feature `planted` nothing can plant
//! them and the questions are constants; with it (a workspace unifies features) they answer no until [`Node::plant`] is called.
//!
//! [`Node::plant`]: super::node::Node

use std::fmt;

/// A bug of the core that can be planted. Never in production.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// The answer to a prepare does not wait for the syncs that are under way, and these raise the row although it is fenced.
    LateSyncRaisesFencedRow,
    /// The cut is the lowest position among the answers instead of the highest.
    LowestCut,
    /// The next epoch starts above the lowest cut, and not above every cut and clock.
    StartBelowPromise,
    /// A strict read keeps its promise of the epoch that has ended.
    StrictReadCarriedOver,
    /// A node that has restarted goes on with its own stream.
    StreamContinued,
    /// A member votes for a decree without the records up to its cut.
    VoteWithoutRecords,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::LateSyncRaisesFencedRow,
        Self::LowestCut,
        Self::StartBelowPromise,
        Self::StrictReadCarriedOver,
        Self::StreamContinued,
        Self::VoteWithoutRecords,
    ];

    /// The name, as the command line of a checker takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LateSyncRaisesFencedRow => "late-sync",
            Self::LowestCut => "lowest-cut",
            Self::StartBelowPromise => "low-start",
            Self::StrictReadCarriedOver => "carried-read",
            Self::StreamContinued => "continued-stream",
            Self::VoteWithoutRecords => "empty-vote",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which bug is planted, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Planted {
    #[cfg(feature = "planted")]
    bug: Option<Bug>,
}

impl Planted {
    /// This bug, and no other.
    #[cfg(feature = "planted")]
    pub(crate) const fn only(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether `bug` is planted.
    #[cfg(feature = "planted")]
    pub(crate) fn is(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether `bug` is planted: never, without the feature.
    #[cfg(not(feature = "planted"))]
    pub(crate) const fn is(self, _: Bug) -> bool {
        false
    }
}
