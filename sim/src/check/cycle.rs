//! Cycles of dependencies: finding a short one in every component, and naming it.
//!
//! *Source*: the anomalies of Adya 1999, in the names that Elle (Kingsbury and Alvaro, PVLDB 14(3), 2020) gives them. Of a
//! component the plainest short cycle is shown: one without process order or real time if there is one, and among
//! these one with the fewest anti-dependencies.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::graph::{Edge, Graph, Kind, Kinds};
use super::verdict::{CycleStep, EdgeKind, Violation};

/// Components in which a cycle is sought; the others are counted.
const COMPONENTS_MAX: usize = 20;

/// Operations of a cycle up to which it is shown though a shorter one of a less plain name may exist.
const READABLE_MAX: usize = 8;

/// Operations from which a cycle is sought in one component, before the shortest so far is taken.
const STARTS_MAX: usize = 64;

/// Edges that the search in one component may look at, before the shortest cycle so far is taken.
const EDGES_MAX: usize = 20_000_000;

/// How operation numbers become evidence.
pub(super) trait Explain {
    /// The violation's evidence of one operation.
    fn operation(&self, operation: u32) -> super::OperationEvidence;
    /// The process of one operation.
    fn process(&self, operation: u32) -> u64;
    /// Why the first of two operations comes before the second; they are called `T<from>` and `T<to>`.
    fn step(&self, step: &Step, from: usize, to: usize) -> String;
}

/// One dependency between two operations of a cycle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) from: u32,
    pub(super) kind: EdgeKind,
    pub(super) label: u32,
    /// Whether it leads through the tail of a key: what was written is not known to be the very next version.
    pub(super) is_tail: bool,
    /// Whether the order of the versions is known from real time alone.
    pub(super) is_realtime: bool,
}

/// One violation for each of the smallest components of `graph`.
pub(super) fn violations(graph: &Graph, explain: &impl Explain) -> Vec<Violation> {
    let components = graph.components(Kinds::ALL);
    let mut violations = Vec::new();
    for component in components.iter().take(COMPONENTS_MAX) {
        let part = graph.part(component);
        let walk = plainest_cycle(&part);
        let mut steps = steps_of(&part, &walk);
        let first = (0..steps.len()).min_by_key(|place| steps[*place].from);
        steps.rotate_left(first.unwrap_or_default());
        for step in &mut steps {
            step.from = component[step.from as usize];
        }
        violations.push(violation_of(&steps, explain));
    }
    if let Some(first) = violations.first_mut()
        && components.len() > COMPONENTS_MAX
    {
        let more = components.len() - COMPONENTS_MAX;
        first
            .message
            .push_str(&format!(" ({more} more groups of operations depend on each other)"));
    }
    violations
}

/// The edges of a closed walk, each with its source.
type Walk = Vec<(u32, Edge)>;

/// The plainest cycle that can be read, or the shortest if none is short.
///
/// *Given* a strongly connected graph of more than one node.
fn plainest_cycle(graph: &Graph) -> Walk {
    let plain = Kinds::of(&[]);
    let process = plain.with(Kind::Process);
    let realtime = process.with(Kind::Realtime).with(Kind::TailRealtime);
    let mut search = Search::new(graph);
    let mut best = None;
    for order in [plain, process, realtime] {
        let g0 = order.with(Kind::WriteWrite);
        let g1 = g0.with(Kind::WriteRead);
        let g2 = g1.with(Kind::ReadWrite);
        for (kinds, has_one_antidependency) in [(g0, false), (g1, false), (g1, true), (g2, false)] {
            search.better(&mut best, |search| match has_one_antidependency {
                true => search.through_one_antidependency(kinds),
                false => search.through_any(kinds),
            });
            if let Some(walk) = best.take_if(|walk| search.length(walk) <= READABLE_MAX) {
                return walk;
            }
        }
    }
    best.expect("a component of more than one node has a cycle by edges of all kinds")
}

/// Breadth-first searches over one graph, with a common limit.
struct Search<'g> {
    graph: &'g Graph,
    edges_left: usize,
    round: u32,
    seen: Vec<u32>,
    parent: Vec<Option<(u32, Edge)>>,
}

impl<'g> Search<'g> {
    fn new(graph: &'g Graph) -> Self {
        Self {
            graph,
            edges_left: EDGES_MAX,
            round: 0,
            seen: vec![0; graph.nodes()],
            parent: vec![None; graph.nodes()],
        }
    }

    /// A short cycle by edges of these kinds; none if there is no cycle.
    fn through_any(&mut self, kinds: Kinds) -> Option<Walk> {
        let component = self.graph.components(kinds).into_iter().next()?;
        let mut starts: Vec<(u32, u32)> = Vec::new();
        for node in component.into_iter().filter(|node| self.graph.is_operation(*node)) {
            let back = self
                .graph
                .edges(node)
                .filter(|edge| kinds.contains(edge.kind))
                .map(|edge| self.back(node, edge));
            starts.push((back.max().unwrap_or_default(), node));
        }
        starts.sort_unstable_by_key(|(back, node)| (Reverse(*back), *node));
        let mut best: Option<Walk> = None;
        for (_, start) in starts.into_iter().take(STARTS_MAX) {
            // The first search is not limited: it must find what is there.
            let limit = best.as_ref().map_or(usize::MAX, |_| self.edges_left);
            if limit == 0 {
                break;
            }
            self.better(&mut best, |search| search.walk(start, start, kinds, limit));
            if best.as_ref().is_some_and(|walk| self.length(walk) <= 2) {
                break;
            }
        }
        best
    }

    /// A short cycle of one `rw` edge and edges of `kinds`; none if there is none, or it was not found within the limit.
    fn through_one_antidependency(&mut self, kinds: Kinds) -> Option<Walk> {
        let mut starts: Vec<(u32, u32, Edge)> = Vec::new();
        for node in self.graph.components(kinds.with(Kind::ReadWrite)).into_iter().flatten() {
            let edges = self.graph.edges(node).filter(|edge| edge.kind == Kind::ReadWrite);
            starts.extend(edges.map(|edge| (self.back(node, edge), node, edge)));
        }
        starts.sort_by_key(|(back, node, _)| (Reverse(*back), *node));
        let mut best: Option<Walk> = None;
        for (_, node, edge) in starts {
            if self.edges_left == 0 || best.as_ref().is_some_and(|walk| self.length(walk) <= 2) {
                break;
            }
            let limit = self.edges_left;
            self.better(&mut best, |search| {
                let mut walk = vec![(node, edge)];
                walk.extend(search.walk(edge.to, node, kinds, limit)?);
                Some(walk)
            });
        }
        best
    }

    /// How far an edge leads back in the order of invocation. A cycle must lead back somewhere, and where it leads far back
    /// the search begins: real time closes the shortest cycles there.
    fn back(&self, from: u32, edge: Edge) -> u32 {
        match self.graph.is_operation(edge.to) {
            true => from.saturating_sub(edge.to),
            false => 0,
        }
    }

    fn better(&mut self, best: &mut Option<Walk>, search: impl FnOnce(&mut Self) -> Option<Walk>) {
        if let Some(walk) = search(self)
            && best.as_ref().is_none_or(|best| self.length(&walk) < self.length(best))
        {
            *best = Some(walk);
        }
    }

    /// The number of operations on a closed walk.
    fn length(&self, walk: &Walk) -> usize {
        walk.iter().filter(|(from, _)| self.graph.is_operation(*from)).count()
    }

    /// The walk of at least one edge from one node to another with the fewest operations; auxiliary nodes cost nothing.
    fn walk(&mut self, from: u32, to: u32, kinds: Kinds, limit: usize) -> Option<Walk> {
        self.round += 1;
        let mut looked_at = 0;
        let mut queue = VecDeque::from([from]);
        let mut found = false;
        // Auxiliary nodes go first, so that nodes are taken in order of their cost and the first edge that reaches one is
        // one of the best.
        'search: while let Some(node) = queue.pop_front() {
            for edge in self.graph.edges(node) {
                looked_at += 1;
                if looked_at > limit {
                    break 'search;
                }
                if !kinds.contains(edge.kind) || self.seen[edge.to as usize] == self.round {
                    continue;
                }
                self.seen[edge.to as usize] = self.round;
                self.parent[edge.to as usize] = Some((node, edge));
                if edge.to == to {
                    found = true;
                    break 'search;
                }
                match self.graph.is_operation(edge.to) {
                    true => queue.push_back(edge.to),
                    false => queue.push_front(edge.to),
                }
            }
        }
        self.edges_left = self.edges_left.saturating_sub(looked_at);
        if !found {
            return None;
        }
        let mut walk = Vec::new();
        let mut node = to;
        loop {
            let (before, edge) = self.parent[node as usize].expect("every node reached has the edge that reached it");
            walk.push((before, edge));
            node = before;
            if node == from {
                break;
            }
        }
        walk.reverse();
        Some(walk)
    }
}

/// The dependencies between operations on a closed walk, without the auxiliary nodes between them.
fn steps_of(graph: &Graph, walk: &Walk) -> Vec<Step> {
    let start = walk
        .iter()
        .position(|(from, _)| graph.is_operation(*from))
        .expect("auxiliary nodes alone form no cycle");
    let mut steps: Vec<Step> = Vec::new();
    for (from, edge) in walk[start..].iter().chain(&walk[..start]) {
        if graph.is_operation(*from) {
            steps.push(Step {
                from: *from,
                kind: edge.kind.meaning().expect("tails lead out of auxiliary nodes only"),
                label: edge.label,
                is_tail: false,
                is_realtime: false,
            });
        } else if let Some(step) = steps.last_mut() {
            step.is_tail |= matches!(edge.kind, Kind::Tail | Kind::TailRealtime);
            step.is_realtime |= edge.kind == Kind::TailRealtime;
        }
    }
    steps
}

fn violation_of(steps: &[Step], explain: &impl Explain) -> Violation {
    let next = |place: usize| (place + 1) % steps.len();
    let mut cycle = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        let same_process = explain.process(step.from) == explain.process(steps[next(place)].from);
        let kind = match step.kind {
            EdgeKind::Realtime if same_process => EdgeKind::Process,
            kind => kind,
        };
        let why = explain.step(&Step { kind, ..*step }, place, next(place));
        cycle.push(CycleStep { kind, why });
    }
    let count = |kind| cycle.iter().filter(|step| step.kind == kind).count();
    let is_realtime = count(EdgeKind::Realtime) > 0 || steps.iter().any(|step| step.is_realtime);
    let order = match (is_realtime, count(EdgeKind::Process) > 0) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    };
    let (names, text) = match (count(EdgeKind::ReadWrite), count(EdgeKind::WriteRead)) {
        (0, 0) => (["G0", "G0-process", "G0-realtime"], "a cycle of writes"),
        (0, _) => (["G1c", "G1c-process", "G1c-realtime"], "a cycle of information flow"),
        (1, _) => (
            ["G-single", "G-single-process", "G-single-realtime"],
            "a cycle with one anti-dependency",
        ),
        _ => (["G2", "G2-process", "G2-realtime"], "a cycle of anti-dependencies"),
    };
    let beside = ["", " and process order", " and real time"][order];
    Violation {
        anomaly: names[order],
        message: format!(
            "no serial order explains these {} operations: {text}{beside}",
            steps.len()
        ),
        operations: steps.iter().map(|step| explain.operation(step.from)).collect(),
        cycle,
    }
}
