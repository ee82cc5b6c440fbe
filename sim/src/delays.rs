//! The measured delays between the regions of two cloud providers.
//!
//! The tables are in `sim/data`, with their source and licence. Half of a round trip is taken as the one-way delay.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::scenario::DelayTable;

static AWS: LazyLock<Delays> = LazyLock::new(|| parse(include_str!("../data/rtt-aws.csv")));
static GCP: LazyLock<Delays> = LazyLock::new(|| parse(include_str!("../data/rtt-gcp.csv")));

/// Round trips between the regions of one provider, in milliseconds.
#[derive(Clone, Debug)]
pub struct Delays {
    regions: Vec<&'static str>,
    /// By row, then by column, in the order of `regions`.
    rtt_ms: Vec<f64>,
    places: BTreeMap<&'static str, usize>,
}

impl Delays {
    /// The table that a scenario names.
    pub fn of(table: DelayTable) -> &'static Self {
        match table {
            DelayTable::Aws => &AWS,
            DelayTable::Gcp => &GCP,
        }
    }

    /// The regions of the table, in its order.
    pub fn regions(&self) -> &[&'static str] {
        &self.regions
    }

    /// The round trip measured from one region to another, or within one, in milliseconds; absent where the table lacks one of them.
    pub fn rtt_ms(&self, from: &str, to: &str) -> Option<f64> {
        let (row, column) = (self.places.get(from)?, self.places.get(to)?);
        Some(self.rtt_ms[row * self.regions.len() + column])
    }
}

/// *Panics* where an embedded table is not a square of numbers with the same names down and across.
fn parse(csv: &'static str) -> Delays {
    let mut lines = csv.lines();
    let regions: Vec<&str> = lines.next().expect("a table has a head").split(',').skip(1).collect();
    let mut rtt_ms = Vec::with_capacity(regions.len() * regions.len());
    for (line, region) in lines.zip(&regions) {
        let mut cells = line.split(',');
        assert_eq!(cells.next(), Some(*region), "the rows are in the order of the columns");
        rtt_ms.extend(cells.map(|cell| cell.parse::<f64>().expect("the table holds numbers")));
    }
    assert_eq!(rtt_ms.len(), regions.len() * regions.len(), "the table is a square");
    let places = regions
        .iter()
        .enumerate()
        .map(|(place, region)| (*region, place))
        .collect();
    Delays {
        regions,
        rtt_ms,
        places,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_are_whole_and_nearly_symmetric() {
        for (table, count) in [(DelayTable::Aws, 19), (DelayTable::Gcp, 20)] {
            let delays = Delays::of(table);
            assert_eq!(delays.regions().len(), count);
            for from in delays.regions() {
                for to in delays.regions() {
                    let there = delays.rtt_ms(from, to).unwrap();
                    let back = delays.rtt_ms(to, from).unwrap();
                    assert!(
                        there > 0.0 && (there - back).abs() <= 0.5,
                        "{from} {to}: {there} {back}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_cell_is_the_round_trip_from_its_row_to_its_column() {
        let aws = Delays::of(DelayTable::Aws);
        assert_eq!(aws.rtt_ms("us-east-1", "eu-west-1"), Some(70.5));
        assert_eq!(aws.rtt_ms("us-east-1", "us-east-2"), Some(10.5));
        assert_eq!(aws.rtt_ms("us-east-2", "us-east-1"), Some(10.6));
        assert_eq!(aws.rtt_ms("us-east-1", "europe-west1"), None);
    }
}
