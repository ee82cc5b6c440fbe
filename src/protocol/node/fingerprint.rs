//! What of a node tells one state of the protocol from another, for a model check.
//!
//! Everything that a step can depend on goes in, the times included: the checker decides how time passes, and so how many states
//! there are. Left out is what no step reads (what was counted) and what never changes in a run (the configuration).

use std::hash::{Hash, Hasher};

use super::Node;

/// Two nodes of one configuration and with the same hash do the same from now on, but for collisions.
impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Without `..`, so that a new field has to be looked at here.
        let Self {
            config: _,
            clock,
            ceiling_asked,
            ceiling_took,
            period,
            pacing,
            evaluation,
            submissions,
            reads,
            agreement,
            quarantine,
            succession,
            ended,
            decrees,
            installing,
            held_back,
            log,
            mark,
            outbox,
            due: _,
            last_step,
            is_resigning,
            has_resigned,
            reconfiguration,
            guests,
            transfer,
            declarations,
            counters: _,
            planted,
        } = self;
        (clock.last(), clock.ceiling()).hash(state);
        (ceiling_asked, ceiling_took, period, pacing, evaluation).hash(state);
        (submissions, reads, agreement, quarantine, succession).hash(state);
        (ended, decrees, installing, held_back, log, mark, outbox, last_step).hash(state);
        (
            is_resigning,
            has_resigned,
            reconfiguration,
            guests,
            transfer,
            declarations,
            planted,
        )
            .hash(state);
    }
}
