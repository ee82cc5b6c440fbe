//! Whether a scenario can be run: finds everything that is wrong with it at once, and where its nodes are.

use plimsoll::limits::MEMBERS_MAX;

use super::{Arrivals, CrashConfig, DiskFault, Distribution, Place, Problem, Scenario, WorkloadKind, WorldConfig};
use crate::delays::Delays;
use crate::topology::Topology;

/// The longest that anything in a scenario may take: a day, far from where microseconds overflow.
const SECONDS_MAX: f64 = 86_400.0;

/// The round trip within a region where the scenario names no delay, in milliseconds: what most regions of both tables have.
const SAME_REGION_RTT_MS: f64 = 0.2;

pub(super) fn validate(scenario: &Scenario) -> Result<Topology, Vec<Problem>> {
    let mut problems = Problems::default();
    check_world(&scenario.world, &mut problems);
    check_workload(scenario, &mut problems);
    check_faults(scenario, &mut problems);
    if let Some(swarm) = &scenario.swarm {
        problems.share("swarm.share", swarm.share);
    }
    let topology = lay_out(&scenario.world, &mut problems);
    match topology {
        Some(topology) if problems.0.is_empty() => Ok(topology),
        _ => Err(problems.0),
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            line: None,
            key: key.into(),
            message: message.into(),
        });
    }

    fn number(&mut self, key: impl Into<String>, value: f64, low: f64, high: f64) {
        // Written so that a value which is no number fails too.
        if !(value >= low && value <= high) {
            self.add(key, format!("{value} is outside {low} to {high}"));
        }
    }

    fn millis(&mut self, key: &str, value: f64) {
        self.number(key, value, 0.0, SECONDS_MAX * 1_000.0);
    }

    fn seconds(&mut self, key: impl Into<String>, value: f64) {
        self.number(key, value, 0.0, SECONDS_MAX);
    }

    fn share(&mut self, key: &str, value: f64) {
        self.number(key, value, 0.0, 1.0);
    }
}

fn check_world(world: &WorldConfig, problems: &mut Problems) {
    problems.seconds("world.load_s", world.load_s);
    problems.seconds("world.warm_up_s", world.warm_up_s);
    problems.seconds("world.drain_s", world.drain_s);
    if world.warm_up_s > world.load_s {
        problems.add(
            "world.warm_up_s",
            format!(
                "{} s of warm-up do not fit into {} s of load",
                world.warm_up_s, world.load_s
            ),
        );
    }
    problems.millis("world.network.jitter_ms", world.network.jitter_ms);
    problems.millis("world.network.client_delay_ms", world.network.client_delay_ms);
    problems.number(
        "world.network.bandwidth_mbit_per_s",
        world.network.bandwidth_mbit_per_s,
        0.0,
        1e9,
    );
    problems.millis("world.clock.offset_ms_max", world.clock.offset_ms_max);
    problems.number("world.clock.drift_ppm_max", world.clock.drift_ppm_max, 0.0, 100_000.0);
    for (name, micros) in [
        ("cpu.frame_us", world.cpu.frame_us),
        ("cpu.kib_us", world.cpu.kib_us),
        ("cpu.record_us", world.cpu.record_us),
        ("cpu.call_us", world.cpu.call_us),
        ("cpu.evaluation_us", world.cpu.evaluation_us),
        ("cpu.read_us", world.cpu.read_us),
        ("disk.sync_us", world.disk.sync_us),
        ("disk.kib_us", world.disk.kib_us),
    ] {
        problems.number(format!("world.{name}"), micros, 0.0, 1e9);
    }
    let profile = &world.profile;
    for (name, millis) in [
        ("active_tick_ms", profile.active_tick_ms),
        ("idle_tick_ms", profile.idle_tick_ms),
        ("active_for_ms", profile.active_for_ms),
        ("clock_offset_max_ms", profile.clock_offset_max_ms),
        ("ceiling_ahead_ms", profile.ceiling_ahead_ms),
        ("retransmit_min_ms", profile.retransmit_min_ms),
        ("retransmit_max_ms", profile.retransmit_max_ms),
        ("gap_grace_ms", profile.gap_grace_ms),
        ("fetch_after_ms", profile.fetch_after_ms),
        ("relay_for_ms", profile.relay_for_ms),
        ("suspect_after_ms", profile.suspect_after_ms),
    ] {
        // Of zero, a node would never come to rest within one moment.
        if let Some(millis) = millis {
            problems.number(format!("world.profile.{name}"), millis, 0.001, SECONDS_MAX * 1_000.0);
        }
    }
}

fn check_workload(scenario: &Scenario, problems: &mut Problems) {
    let workload = &scenario.workload;
    if workload.keys == 0 {
        problems.add("workload.keys", "there must be at least 1 key");
    }
    if workload.clients_per_region == 0 {
        problems.add(
            "workload.clients_per_region",
            "there must be at least 1 client in a region",
        );
    }
    if workload.operations_max == 0 {
        problems.add("workload.operations_max", "a transaction has at least 1 operation");
    }
    let mut reads = 0.0;
    for (key, share) in [
        ("workload.strict_reads", workload.strict_reads),
        ("workload.snapshot_reads", workload.snapshot_reads),
        ("workload.after_reads", workload.after_reads),
        ("workload.bounded_reads", workload.bounded_reads),
    ] {
        problems.share(key, share);
        reads += share;
        // The shares are decimal fractions, whose sum may come out a little above 1.
        if reads > 1.0 + 1e-9 {
            problems.add(
                key,
                format!(
                    "with it {reads} of the calls are reads, more than all calls: the shares together must be at most 1"
                ),
            );
            break;
        }
    }
    let mut pursued = 0.0;
    for (key, share) in [
        ("workload.retry", workload.retry),
        ("workload.resolve", workload.resolve),
        ("workload.status", workload.status),
    ] {
        problems.share(key, share);
        pursued += share;
        if pursued > 1.0 + 1e-9 {
            problems.add(
                key,
                format!(
                    "with it clients would pursue {pursued} of the unknown ends, more than there are: \
                     retry, resolve and status together must be at most 1"
                ),
            );
            break;
        }
    }
    problems.share("workload.double_submit", workload.double_submit);
    problems.millis("workload.bounded_age_ms", workload.bounded_age_ms);
    problems.number(
        "workload.deadline_ms",
        workload.deadline_ms,
        0.001,
        SECONDS_MAX * 1_000.0,
    );
    // Without a wait, a client that is refused would call again within the same moment, for ever.
    problems.number(
        "workload.retry_wait_ms",
        workload.retry_wait_ms,
        0.001,
        SECONDS_MAX * 1_000.0,
    );
    if workload.initial_balance > i64::MAX as u64 / workload.keys.max(1) {
        problems.add(
            "workload.initial_balance",
            "the total of all accounts is more than 2^63",
        );
    }
    match workload.arrivals {
        Arrivals::Closed { think_ms } => problems.millis("workload.arrivals.closed.think_ms", think_ms),
        Arrivals::Open { rate_per_s } => {
            problems.number("workload.arrivals.open.rate_per_s", rate_per_s, 0.001, 1e6);
        }
    }
    match workload.distribution {
        Distribution::Uniform => {}
        Distribution::Zipf { theta } => problems.number("workload.distribution.zipf.theta", theta, 0.01, 5.0),
        Distribution::Hot { keys } => {
            problems.number("workload.distribution.hot.keys", keys as f64, 1.0, workload.keys as f64);
        }
        Distribution::Hotspot { data, operations } => {
            // A share of nothing is no share: neither can be 0.
            problems.number("workload.distribution.hotspot.data", data, 1e-9, 1.0);
            problems.number("workload.distribution.hotspot.operations", operations, 1e-9, 1.0);
        }
    }
    if workload.kind == WorkloadKind::Transfer && workload.keys == 1 {
        problems.add(
            "workload.keys",
            "a transfer takes from one account and gives to another: there must be 2",
        );
    }
    if problems.0.is_empty()
        && let Err(error) = crate::workload::scripts(workload)
    {
        problems.add("workload.distribution", error.to_string());
    }
}

fn check_faults(scenario: &Scenario, problems: &mut Problems) {
    let faults = &scenario.faults;
    problems.share("faults.loss", faults.loss);
    problems.share("faults.duplicate", faults.duplicate);
    problems.share("faults.reorder", faults.reorder);
    problems.millis("faults.reorder_extra_ms", faults.reorder_extra_ms);
    if faults.reorder > 0.0 && faults.reorder_extra_ms == 0.0 {
        problems.add(
            "faults.reorder",
            "a frame that is held back for no time is not overtaken: set faults.reorder_extra_ms",
        );
    }
    check_window("faults", faults.from_s, faults.until_s, problems);
    problems.share("faults.late", faults.late);
    problems.millis("faults.late_ms_max", faults.late_ms_max);
    if faults.late > 0.0 && faults.late_ms_max == 0.0 {
        problems.add(
            "faults.late",
            "a frame that comes again at once is not late: set faults.late_ms_max",
        );
    }
    let places = Places::new(&scenario.world);
    for (number, cut) in faults.cut.iter().enumerate() {
        let key = format!("faults.cut.{number}");
        check_window(&key, cut.from_s, cut.until_s, problems);
        places.check(format!("{key}.from"), &cut.from, problems);
        places.check(format!("{key}.to"), &cut.to, problems);
        if cut.from == cut.to {
            problems.add(
                format!("{key}.to"),
                format!("a cut lies between two places, and {} is both", cut.to),
            );
        }
    }
    for (number, crash) in faults.crash.iter().enumerate() {
        check_crash(&format!("faults.crash.{number}"), crash, &places, problems);
    }
    for (number, loss) in faults.lose_disk.iter().enumerate() {
        let key = format!("faults.lose_disk.{number}");
        places.check(format!("{key}.place"), &loss.place, problems);
        problems.seconds(format!("{key}.at_s"), loss.at_s);
    }
    for (number, disk) in faults.disk.iter().enumerate() {
        let key = format!("faults.disk.{number}");
        places.check(format!("{key}.place"), &disk.place, problems);
        problems.seconds(format!("{key}.at_s"), disk.at_s);
        let key = format!("{key}.for_s");
        match (disk.fault, disk.for_s) {
            (DiskFault::Full, Some(for_s)) => problems.seconds(key, for_s),
            (DiskFault::Full, None) => problems.add(key, "missing: for how long the disk is full, in seconds"),
            (_, Some(_)) => problems.add(key, "only a disk that is full has a duration"),
            (_, None) => {}
        }
    }
    for (number, pause) in faults.pause.iter().enumerate() {
        let key = format!("faults.pause.{number}");
        places.check(format!("{key}.place"), &pause.place, problems);
        problems.seconds(format!("{key}.at_s"), pause.at_s);
        problems.seconds(format!("{key}.for_s"), pause.for_s);
    }
    for (number, slow) in faults.slow.iter().enumerate() {
        let key = format!("faults.slow.{number}");
        places.check(format!("{key}.place"), &slow.place, problems);
        check_window(&key, slow.from_s, Some(slow.until_s), problems);
        problems.number(format!("{key}.factor"), slow.factor, 1.0, 10_000.0);
    }
    for (number, step) in faults.clock_step.iter().enumerate() {
        let key = format!("faults.clock_step.{number}");
        places.check(format!("{key}.place"), &step.place, problems);
        problems.seconds(format!("{key}.at_s"), step.at_s);
        problems.number(
            format!("{key}.by_ms"),
            step.by_ms,
            -SECONDS_MAX * 1_000.0,
            SECONDS_MAX * 1_000.0,
        );
    }
    for (number, change) in faults.change.iter().enumerate() {
        let key = format!("faults.change.{number}");
        problems.seconds(format!("{key}.at_s"), change.at_s);
        let nodes = [
            ("node", Some(change.node)),
            ("joins", change.joins),
            ("leaves", change.leaves),
        ];
        for (end, node) in nodes {
            if let Some(node) = node {
                places.check(format!("{key}.{end}"), &Place::Node(node), problems);
            }
        }
        if change.joins.is_none() && change.leaves.is_none() {
            problems.add(&key, "nothing is changed: name a node that joins or one that leaves");
        }
    }
}

fn check_crash(key: &str, crash: &CrashConfig, places: &Places<'_>, problems: &mut Problems) {
    places.check(format!("{key}.place"), &crash.place, problems);
    problems.seconds(format!("{key}.at_s"), crash.at_s);
    if let Some(after_s) = crash.restart_after_s {
        problems.seconds(format!("{key}.restart_after_s"), after_s);
    }
    let triggers =
        usize::from(crash.at_sync.is_some()) + usize::from(crash.at_send.is_some()) + usize::from(crash.resign);
    if triggers > 1 {
        problems.add(
            key,
            "a crash is at a sync, at a frame or after a resignation: name one of them",
        );
    }
    if crash.at_sync == Some(0) || crash.at_send == Some(0) {
        problems.add(key, "syncs and frames are counted from 1");
    }
}

/// Which places there are for faults.
struct Places<'a> {
    regions: &'a [String],
    nodes: usize,
}

impl<'a> Places<'a> {
    fn new(world: &'a WorldConfig) -> Self {
        Self {
            regions: &world.regions,
            nodes: world.node_count() as usize,
        }
    }

    fn check(&self, key: String, place: &Place, problems: &mut Problems) {
        match place {
            Place::Region(region) if !self.regions.contains(region) => {
                let known = self.regions.iter().map(String::as_str);
                problems.add(key, unknown_region(region, "world.regions", known));
            }
            Place::Node(number) if *number == 0 || *number as usize > self.nodes => {
                problems.add(
                    key,
                    format!("there is no node {number}: they are numbered from 1 to {}", self.nodes),
                );
            }
            Place::Region(_) | Place::Node(_) => {}
        }
    }
}

fn check_window(key: &str, from_s: f64, until_s: Option<f64>, problems: &mut Problems) {
    problems.seconds(format!("{key}.from_s"), from_s);
    if let Some(until_s) = until_s {
        problems.seconds(format!("{key}.until_s"), until_s);
        if until_s <= from_s {
            problems.add(
                format!("{key}.until_s"),
                format!("ends at {until_s} s, not after it begins at {from_s} s"),
            );
        }
    }
}

/// Gives nothing only where it has added a problem.
fn lay_out(world: &WorldConfig, problems: &mut Problems) -> Option<Topology> {
    let before = problems.0.len();
    check_regions(world, problems);
    let nodes = place_nodes(world, problems);
    let rtt_ms = measure(world, problems);
    (problems.0.len() == before).then(|| Topology::new(world.regions.clone(), nodes, rtt_ms))
}

fn check_regions(world: &WorldConfig, problems: &mut Problems) {
    if world.regions.is_empty() {
        problems.add("world.regions", "a world has at least one region");
    }
    for (place, region) in world.regions.iter().enumerate() {
        let key = format!("world.regions.{place}");
        if world.regions[..place].contains(region) {
            problems.add(&key, format!("{region} is named twice"));
        }
        let is_explicit =
            world.rtt_ms.contains_key(region) || world.rtt_ms.values().any(|row| row.contains_key(region));
        if let Some(table) = world.delays
            && !is_explicit
            && Delays::of(table).rtt_ms(region, region).is_none()
        {
            let known = Delays::of(table).regions().iter().copied();
            problems.add(&key, unknown_region(region, &format!("the {table:?} table"), known));
        }
    }
    for (from, row) in &world.rtt_ms {
        let ends = row.keys().map(|to| (format!("world.rtt_ms.{from}.{to}"), to));
        for (key, region) in ends.chain([(format!("world.rtt_ms.{from}"), from)]) {
            if !world.regions.contains(region) {
                let known = world.regions.iter().map(String::as_str);
                problems.add(key, unknown_region(region, "world.regions", known));
            }
        }
        for (to, rtt_ms) in row {
            problems.millis(&format!("world.rtt_ms.{from}.{to}"), *rtt_ms);
        }
    }
}

fn place_nodes(world: &WorldConfig, problems: &mut Problems) -> Vec<usize> {
    let mut nodes = Vec::new();
    if world.node.is_empty() {
        let each = world.nodes_per_region.unwrap_or(1);
        if each == 0 {
            problems.add(
                "world.nodes_per_region",
                "each region has at least 1 node: its clients talk to it",
            );
        }
        nodes
            .extend((0..world.regions.len()).flat_map(|region| std::iter::repeat_n(region, each.min(MEMBERS_MAX + 1))));
    } else {
        if world.nodes_per_region.is_some() {
            problems.add(
                "world.nodes_per_region",
                "the nodes are given one by one in world.node as well: keep one of the two",
            );
        }
        for (place, node) in world.node.iter().enumerate() {
            match world.regions.iter().position(|region| *region == node.region) {
                Some(region) => nodes.push(region),
                None => {
                    let known = world.regions.iter().map(String::as_str);
                    problems.add(
                        format!("world.node.{place}.region"),
                        unknown_region(&node.region, "world.regions", known),
                    );
                }
            }
        }
        for (region, name) in world.regions.iter().enumerate() {
            if !nodes.contains(&region) {
                problems.add(
                    "world.node",
                    format!("{name} has no node for its clients: add one, or take the region out of world.regions"),
                );
            }
        }
    }
    if nodes.len() > MEMBERS_MAX {
        let key = if world.node.is_empty() {
            "world.nodes_per_region"
        } else {
            "world.node"
        };
        problems.add(
            key,
            format!("{} nodes are more than a cluster's {MEMBERS_MAX}", nodes.len()),
        );
    }
    nodes
}

fn measure(world: &WorldConfig, problems: &mut Problems) -> Vec<f64> {
    let explicit = |from: &str, to: &str| world.rtt_ms.get(from).and_then(|row| row.get(to)).copied();
    let mut rtt_ms = Vec::with_capacity(world.regions.len() * world.regions.len());
    for (row, from) in world.regions.iter().enumerate() {
        for (column, to) in world.regions.iter().enumerate() {
            let given = explicit(from, to).or_else(|| explicit(to, from));
            let given = given.or_else(|| Delays::of(world.delays?).rtt_ms(from, to));
            match given {
                Some(given) => rtt_ms.push(given),
                None => {
                    rtt_ms.push(SAME_REGION_RTT_MS);
                    if row < column {
                        problems.add("world.regions", no_delay(world, from, to));
                    }
                }
            }
        }
    }
    rtt_ms
}

fn no_delay(world: &WorldConfig, from: &str, to: &str) -> String {
    let table = match world.delays {
        None => "no table is named by world.delays (\"aws\" or \"gcp\")".to_owned(),
        Some(table) => format!(
            "the {table:?} table (sim/data/rtt-{}.csv) lacks it",
            format!("{table:?}").to_lowercase()
        ),
    };
    format!("no delay between {from} and {to}: {table}, and world.rtt_ms.\"{from}\".\"{to}\" is not set")
}

/// What to say of a region that is not known: the nearest names, or all where few are known.
fn unknown_region<'a>(region: &str, place: &str, known: impl Iterator<Item = &'a str>) -> String {
    const ALL_UP_TO: usize = 5;
    const NEAREST: usize = 3;
    let mut known: Vec<&str> = known.collect();
    let is_long = known.len() > ALL_UP_TO;
    if is_long {
        known.sort_by_key(|name| distance(region, name));
        known.truncate(NEAREST);
    }
    let said = if is_long { "the nearest names are" } else { "it has" };
    format!("{region} is not in {place}: {said} {}", known.join(", "))
}

/// How many letters must be changed, added or left out to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (place, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = place + 1;
        for (column, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
