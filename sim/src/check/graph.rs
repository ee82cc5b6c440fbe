//! A compact graph of dependencies: which operation comes before which, and why.
//!
//! Nodes are operations, and after them auxiliary nodes: barriers in real time and the tails of keys, through which
//! many-to-many relations need only linearly many edges. Nothing here knows what the edges mean beyond their kind.

use super::verdict::EdgeKind;

/// The kind of an edge. The tails lead out of auxiliary nodes and continue the kind that led into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    WriteWrite,
    WriteRead,
    ReadWrite,
    Process,
    /// From an operation into real time, between its barriers, and out to an operation.
    Realtime,
    /// From an auxiliary node of a key to an operation or another such node.
    Tail,
    /// The same, where the order of the versions is known from real time alone.
    TailRealtime,
}

impl Kind {
    /// What an edge of this kind means between operations. A tail only goes on with what led into it.
    pub(super) const fn meaning(self) -> Option<EdgeKind> {
        match self {
            Self::WriteWrite => Some(EdgeKind::WriteWrite),
            Self::WriteRead => Some(EdgeKind::WriteRead),
            Self::ReadWrite => Some(EdgeKind::ReadWrite),
            Self::Process => Some(EdgeKind::Process),
            Self::Realtime => Some(EdgeKind::Realtime),
            Self::Tail | Self::TailRealtime => None,
        }
    }
}

/// A set of kinds of edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const ALL: Self = Self(0b111_1111);

    /// These kinds, and tails, which belong to every set.
    pub(super) fn of(kinds: &[Kind]) -> Self {
        Self(
            kinds
                .iter()
                .fold(1 << Kind::Tail as u8, |set, kind| set | 1 << *kind as u8),
        )
    }

    pub(super) const fn contains(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    pub(super) const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }
}

/// One edge as it is added.
#[derive(Clone, Copy, Debug)]
struct NewEdge {
    from: u32,
    to: u32,
    kind: Kind,
    label: u32,
}

/// A graph that is being built.
#[derive(Debug, Default)]
pub(super) struct GraphBuilder {
    operations: u32,
    nodes: u32,
    edges: Vec<NewEdge>,
}

/// A graph in compressed rows: the edges of node `v` are `starts[v]..starts[v + 1]`.
#[derive(Debug)]
pub(super) struct Graph {
    /// Nodes below this number are operations.
    pub(super) operations: u32,
    starts: Vec<u32>,
    to: Vec<u32>,
    kind: Vec<Kind>,
    label: Vec<u32>,
}

/// One edge of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) to: u32,
    pub(super) kind: Kind,
    /// What it is about, for the one who added it.
    pub(super) label: u32,
}

impl GraphBuilder {
    /// A graph of so many operations and no edges.
    pub(super) fn new(operations: usize) -> Self {
        let operations = u32::try_from(operations).expect("there are fewer operations than entries, which fit");
        Self {
            operations,
            nodes: operations,
            edges: Vec::new(),
        }
    }

    /// A new auxiliary node.
    pub(super) fn auxiliary(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Adds an edge, unless it leads from a node to itself.
    pub(super) fn edge(&mut self, from: u32, to: u32, kind: Kind, label: u32) {
        if from != to {
            self.edges.push(NewEdge { from, to, kind, label });
        }
    }

    pub(super) fn build(self) -> Graph {
        let nodes = self.nodes as usize;
        let mut starts = vec![0_u32; nodes + 1];
        for edge in &self.edges {
            starts[edge.from as usize + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut place = starts.clone();
        let edges = self.edges.len();
        let (mut to, mut kind, mut label) = (vec![0; edges], vec![Kind::Tail; edges], vec![0; edges]);
        for edge in &self.edges {
            let at = &mut place[edge.from as usize];
            to[*at as usize] = edge.to;
            kind[*at as usize] = edge.kind;
            label[*at as usize] = edge.label;
            *at += 1;
        }
        Graph {
            operations: self.operations,
            starts,
            to,
            kind,
            label,
        }
    }
}

impl Graph {
    pub(super) fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn edges(&self, node: u32) -> impl Iterator<Item = Edge> + '_ {
        let range = self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize;
        range.map(|at| Edge {
            to: self.to[at],
            kind: self.kind[at],
            label: self.label[at],
        })
    }

    /// Whether `node` is an operation and not an auxiliary node.
    pub(super) fn is_operation(&self, node: u32) -> bool {
        node < self.operations
    }

    /// The strongly connected components of more than one node, by edges of these kinds alone.
    ///
    /// *Source*: Tarjan 1972, with an explicit stack, since a chain of a million operations is no depth for recursion.
    pub(super) fn components(&self, kinds: Kinds) -> Vec<Vec<u32>> {
        const UNSEEN: u32 = u32::MAX;
        let nodes = self.nodes();
        let mut found = Vec::new();
        let mut number = vec![UNSEEN; nodes];
        let mut low = vec![0_u32; nodes];
        let mut on_stack = vec![false; nodes];
        let mut next_edge: Vec<u32> = self.starts[..nodes].to_vec();
        let mut open = Vec::new();
        let mut path: Vec<u32> = Vec::new();
        let mut numbered = 0;
        for root in 0..nodes as u32 {
            if number[root as usize] != UNSEEN {
                continue;
            }
            path.push(root);
            while let Some(&node) = path.last() {
                let at = node as usize;
                if number[at] == UNSEEN {
                    number[at] = numbered;
                    low[at] = numbered;
                    numbered += 1;
                    open.push(node);
                    on_stack[at] = true;
                }
                let mut descends = false;
                while next_edge[at] < self.starts[at + 1] {
                    let edge = next_edge[at] as usize;
                    next_edge[at] += 1;
                    if !kinds.contains(self.kind[edge]) {
                        continue;
                    }
                    let to = self.to[edge] as usize;
                    if number[to] == UNSEEN {
                        path.push(to as u32);
                        descends = true;
                        break;
                    }
                    if on_stack[to] {
                        low[at] = low[at].min(number[to]);
                    }
                }
                if descends {
                    continue;
                }
                path.pop();
                if let Some(&parent) = path.last() {
                    low[parent as usize] = low[parent as usize].min(low[at]);
                }
                if low[at] == number[at] {
                    let mut component = Vec::new();
                    loop {
                        let member = open.pop().expect("the root of a component is still open");
                        on_stack[member as usize] = false;
                        component.push(member);
                        if member == node {
                            break;
                        }
                    }
                    if component.len() > 1 {
                        component.sort_unstable();
                        found.push(component);
                    }
                }
            }
        }
        found.sort_unstable_by_key(|component| (component.len(), component[0]));
        found
    }

    /// The graph of these nodes alone and the edges between them; `nodes` ascend, and node `i` of it is `nodes[i]`.
    pub(super) fn part(&self, nodes: &[u32]) -> Self {
        let place = |node: u32| nodes.binary_search(&node).ok().map(|place| place as u32);
        let mut part = Self {
            operations: nodes.partition_point(|node| self.is_operation(*node)) as u32,
            starts: vec![0],
            to: Vec::new(),
            kind: Vec::new(),
            label: Vec::new(),
        };
        for node in nodes {
            for edge in self.edges(*node) {
                if let Some(to) = place(edge.to) {
                    part.to.push(to);
                    part.kind.push(edge.kind);
                    part.label.push(edge.label);
                }
            }
            part.starts.push(part.to.len() as u32);
        }
        part
    }
}
