//! The network between the nodes: how long each frame takes, and which are lost, repeated, held back or cut off.
//!
//! A frame takes the time of its bytes on the link, half a round trip and some jitter; on one link frames arrive in the order in
//! which they were sent, unless the scenario holds some back. The network sees sizes and moments and nothing else. Every fault
//! that happens is counted.

use crate::cost::us;
use crate::random::{Seed, Stream};
use crate::scenario::{Place, Scenario, SlowPart};
use crate::topology::Topology;

/// All links of a world.
#[derive(Clone, Debug)]
pub struct Network {
    node_count: usize,
    /// From one node to another, by rows.
    links: Vec<Link>,
    faults: Faults,
    jitter_us: f64,
    /// Nanoseconds for a byte; 0 without a limit.
    byte_ns: f64,
    counts: NetworkCounts,
    /// For each cut of the scenario the frames lost by it.
    cut_frames: Vec<u64>,
}

/// What has happened to the frames so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounts {
    /// Frames sent.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames lost by chance.
    pub lost: u64,
    /// Frames lost because their link was cut.
    pub cut: u64,
    /// Frames that arrive twice.
    pub duplicated: u64,
    /// Frames held back.
    pub held_back: u64,
    /// Frames that arrive once more much later.
    pub late: u64,
    /// Frames on a link that was slow.
    pub slow: u64,
    /// Frames that arrive before one that was sent earlier on the same link.
    pub overtaking: u64,
}

/// When a frame arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// When it does; absent: never.
    pub first_us: Option<u64>,
    /// When it does again; absent: it does not.
    pub second_us: Option<u64>,
    /// When it does once more, much later; absent: it does not.
    pub late_us: Option<u64>,
}

#[derive(Clone, Debug)]
struct Link {
    one_way_us: u64,
    /// With the number of each cut in the scenario.
    cuts: Vec<(usize, Window)>,
    /// When it is slow, and how many times as long a frame takes then.
    slows: Vec<(Window, f64)>,
    /// When the last byte of all frames so far is on its way.
    free_at_ns: u64,
    /// When the last frame arrives that was not held back.
    last_us: u64,
    /// When the last frame arrives that was held back.
    last_held_us: u64,
    jitter: Stream,
    loss: Stream,
    duplication: Stream,
    reordering: Stream,
    lateness: Stream,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    from_us: u64,
    until_us: u64,
}

#[derive(Clone, Debug)]
struct Faults {
    window: Window,
    loss: f64,
    duplicate: f64,
    reorder: f64,
    reorder_extra_us: u64,
    late: f64,
    late_us_max: u64,
}

impl Window {
    fn new(from_s: f64, until_s: Option<f64>) -> Self {
        Self {
            from_us: us(from_s * 1e3),
            until_us: until_s.map_or(u64::MAX, |until_s| us(until_s * 1e3)),
        }
    }

    fn contains(self, time_us: u64) -> bool {
        (self.from_us..self.until_us).contains(&time_us)
    }
}

impl Network {
    /// The network of a scenario; `topology` is that of the same scenario.
    pub fn new(scenario: &Scenario, topology: &Topology, seed: Seed) -> Self {
        let node_count = topology.node_count();
        let mut links = Vec::with_capacity(node_count * node_count);
        for from in 0..node_count {
            for to in 0..node_count {
                links.push(Link::new(scenario, topology, from, to, seed));
            }
        }
        let faults = &scenario.faults;
        let bandwidth = scenario.world.network.bandwidth_mbit_per_s;
        Self {
            node_count,
            links,
            faults: Faults {
                window: Window::new(faults.from_s, faults.until_s),
                loss: faults.loss,
                duplicate: faults.duplicate,
                reorder: faults.reorder,
                reorder_extra_us: us(faults.reorder_extra_ms),
                late: faults.late,
                late_us_max: us(faults.late_ms_max),
            },
            jitter_us: scenario.world.network.jitter_ms * 1e3,
            byte_ns: if bandwidth > 0.0 { 8_000.0 / bandwidth } else { 0.0 },
            counts: NetworkCounts::default(),
            cut_frames: vec![0; faults.cut.len()],
        }
    }

    /// Takes a frame of so many bytes at `at_us`, and says when it arrives.
    ///
    /// *Given* frames of one link in the order of their moments.
    pub fn send(&mut self, at_us: u64, from: usize, to: usize, bytes: usize) -> Arrival {
        let link = &mut self.links[from * self.node_count + to];
        let counts = &mut self.counts;
        counts.frames += 1;
        counts.bytes += bytes as u64;
        link.free_at_ns = link.free_at_ns.max(at_us * 1_000) + (bytes as f64 * self.byte_ns) as u64;
        // Drawn for lost frames too, so that a fault more leaves the delays of all other frames as they were.
        let jitter_us = if self.jitter_us > 0.0 {
            (link.jitter.exponential() * self.jitter_us) as u64
        } else {
            0
        };
        let mut one_way_us = link.one_way_us + jitter_us;
        if let Some((_, factor)) = link.slows.iter().find(|(window, _)| window.contains(at_us)) {
            counts.slow += 1;
            one_way_us = (one_way_us as f64 * factor) as u64;
        }
        let in_time_us = link.free_at_ns.div_ceil(1_000) + one_way_us;
        if let Some((number, _)) = link.cuts.iter().find(|(_, cut)| cut.contains(at_us)) {
            counts.cut += 1;
            self.cut_frames[*number] += 1;
            return Arrival::default();
        }
        if !self.faults.window.contains(at_us) {
            return link.in_order(in_time_us, counts);
        }
        if link.loss.chance(self.faults.loss) {
            counts.lost += 1;
            return Arrival::default();
        }
        let mut arrival = if link.reordering.chance(self.faults.reorder) {
            counts.held_back += 1;
            let held_us = in_time_us + 1 + link.reordering.below(self.faults.reorder_extra_us.max(1));
            link.last_held_us = link.last_held_us.max(held_us);
            Arrival {
                first_us: Some(held_us),
                ..Arrival::default()
            }
        } else {
            link.in_order(in_time_us, counts)
        };
        if link.duplication.chance(self.faults.duplicate) {
            counts.duplicated += 1;
            let late_us = link.duplication.below(2 * link.one_way_us + 1);
            arrival.second_us = arrival.first_us.map(|first_us| first_us + late_us);
        }
        if link.lateness.chance(self.faults.late) {
            counts.late += 1;
            let late_us = link.lateness.below(self.faults.late_us_max.max(1));
            arrival.late_us = arrival.first_us.map(|first_us| first_us + late_us);
        }
        arrival
    }

    /// For each cut of the scenario the frames lost by it.
    pub fn cut_frames(&self) -> &[u64] {
        &self.cut_frames
    }

    /// What has happened so far.
    pub fn counts(&self) -> NetworkCounts {
        self.counts
    }
}

impl Link {
    fn new(scenario: &Scenario, topology: &Topology, from: usize, to: usize, seed: Seed) -> Self {
        let is_at = |place: &Place, node: usize| topology.nodes_at(place).contains(&node);
        let cuts = scenario.faults.cut.iter().enumerate().filter(|(_, cut)| {
            is_at(&cut.from, from) && is_at(&cut.to, to) || cut.both && is_at(&cut.to, from) && is_at(&cut.from, to)
        });
        let of_links = scenario.faults.slow.iter().filter(|slow| slow.part == SlowPart::Link);
        let slows = of_links.filter(|slow| is_at(&slow.place, from) || is_at(&slow.place, to));
        let stream = |concern: &str| seed.stream(&format!("network.{concern}.{from}.{to}"));
        Self {
            one_way_us: us(topology.one_way_ms(from, to)),
            cuts: cuts
                .map(|(number, cut)| (number, Window::new(cut.from_s, cut.until_s)))
                .collect(),
            slows: slows
                .map(|slow| (Window::new(slow.from_s, Some(slow.until_s)), slow.factor))
                .collect(),
            free_at_ns: 0,
            last_us: 0,
            last_held_us: 0,
            jitter: stream("delay"),
            loss: stream("loss"),
            duplication: stream("duplicate"),
            reordering: stream("reorder"),
            lateness: stream("late"),
        }
    }

    /// A frame is never earlier than the one before it.
    fn in_order(&mut self, in_time_us: u64, counts: &mut NetworkCounts) -> Arrival {
        self.last_us = self.last_us.max(in_time_us);
        if self.last_us < self.last_held_us {
            counts.overtaking += 1;
        }
        Arrival {
            first_us: Some(self.last_us),
            ..Arrival::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: &str = "
[world]
regions = [\"us-east-1\", \"eu-west-1\"]
delays = \"aws\"
load_s = 10
[world.network]
bandwidth_mbit_per_s = 0
";

    fn network(settings: &[&str]) -> Network {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let scenario = Scenario::parse("test.toml", QUIET, &settings).unwrap();
        let topology = scenario.check().unwrap();
        Network::new(&scenario, &topology, Seed(1))
    }

    /// What becomes of frames that are sent a millisecond apart.
    fn send(network: &mut Network, count: u64) -> Vec<Arrival> {
        (0..count).map(|frame| network.send(frame * 1_000, 0, 1, 100)).collect()
    }

    #[test]
    fn a_frame_takes_half_a_round_trip() {
        let arrivals = send(&mut network(&[]), 2);
        assert_eq!(arrivals[0].first_us, Some(35_250));
        assert_eq!(arrivals[1].first_us, Some(36_250));
    }

    #[test]
    fn frames_wait_for_the_bytes_of_those_before_them() {
        let mut network = network(&["world.network.bandwidth_mbit_per_s=8"]);
        let first = network.send(0, 0, 1, 1_000);
        let second = network.send(0, 0, 1, 1_000);
        let back = network.send(0, 1, 0, 1_000);
        assert_eq!((first.first_us, second.first_us), (Some(36_250), Some(37_250)));
        assert_eq!(back.first_us, Some(36_250), "the other direction is another link");
    }

    #[test]
    fn jitter_has_its_mean_and_never_reorders() {
        let mut network = network(&["world.network.jitter_ms=2"]);
        let arrivals: Vec<u64> = (0..20_000)
            .map(|frame| network.send(frame * 1_000_000, 0, 1, 100).first_us.unwrap() - frame * 1_000_000)
            .collect();
        let mean_us = arrivals.iter().sum::<u64>() / 20_000;
        assert!((37_200..37_300).contains(&mean_us), "{mean_us}");
        let close = send(&mut network, 20_000);
        assert!(close.is_sorted_by_key(|arrival| arrival.first_us));
        assert_eq!(network.counts().overtaking, 0);
    }

    #[test]
    fn faults_happen_as_often_as_the_scenario_says_and_are_counted() {
        let mut network = network(&[
            "faults.loss=0.2",
            "faults.duplicate=0.1",
            "faults.reorder=0.1",
            "faults.reorder_extra_ms=20",
        ]);
        let arrivals = send(&mut network, 10_000);
        let counts = network.counts();
        let lost = arrivals.iter().filter(|arrival| arrival.first_us.is_none()).count() as u64;
        let repeated = arrivals.iter().filter(|arrival| arrival.second_us.is_some()).count() as u64;
        assert_eq!(
            (counts.lost, counts.duplicated, counts.frames),
            (lost, repeated, 10_000)
        );
        assert!((1_900..2_100).contains(&lost), "{lost}");
        assert!(
            (700..900).contains(&repeated),
            "{repeated}: a tenth of what is not lost"
        );
        assert!((700..900).contains(&counts.held_back), "{}", counts.held_back);
        assert!(counts.overtaking > counts.held_back, "{}", counts.overtaking);
    }

    #[test]
    fn a_fault_more_leaves_the_delays_of_the_other_frames_as_they_were() {
        let jitter = "world.network.jitter_ms=0.1";
        let without = send(&mut network(&[jitter]), 1_000);
        let with = send(&mut network(&[jitter, "faults.loss=0.2"]), 1_000);
        let lost = with.iter().filter(|arrival| arrival.first_us.is_none()).count();
        let alike = without
            .iter()
            .zip(&with)
            .filter(|(without, with)| without == with)
            .count();
        assert_eq!(alike + lost, 1_000);
    }

    #[test]
    fn a_cut_loses_what_is_sent_in_one_direction_while_it_lasts() {
        let cut = "faults.cut=[{from=\"us-east-1\",to=\"eu-west-1\",from_s=1,until_s=2}]";
        let mut network = network(&[cut]);
        let mut arrives = |at_us, from, to| network.send(at_us, from, to, 100).first_us.is_some();
        assert!(arrives(999_999, 0, 1) && !arrives(1_000_000, 0, 1));
        assert!(arrives(1_500_000, 1, 0), "the other direction is open");
        assert!(!arrives(1_999_999, 0, 1) && arrives(2_000_000, 0, 1));
        assert_eq!(network.counts().cut, 2);
    }

    #[test]
    fn a_cut_of_both_directions_holds_for_ever_without_an_end() {
        let mut network = network(&["faults.cut=[{from=\"us-east-1\",to=\"eu-west-1\",both=true}]"]);
        assert_eq!(network.send(0, 0, 1, 100), Arrival::default());
        assert_eq!(network.send(80_000_000, 1, 0, 100), Arrival::default());
    }

    #[test]
    fn faults_end_with_their_window() {
        let mut network = network(&["faults.loss=1", "faults.from_s=1", "faults.until_s=2"]);
        let lost: Vec<bool> = [0, 1_000_000, 1_999_999, 2_000_000]
            .into_iter()
            .map(|at_us| network.send(at_us, 0, 1, 100).first_us.is_none())
            .collect();
        assert_eq!(lost, [false, true, true, false]);
    }
}
