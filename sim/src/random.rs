//! Randomness of a run: one seed, and a stream of its own for every concern.
//!
//! A stream is derived from the seed and its name alone, so that a draw more in one does not shift the others: two runs that
//! differ in one thing stay alike in the rest. Only exactly rounded arithmetic is used, so a seed means the same run on every
//! machine.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The seed of a run, from which every stream is derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream with this name: the same for the same seed and name, and independent of all others.
    pub fn stream(self, name: &str) -> Stream {
        Stream(Xoshiro256PlusPlus::seed_from_u64(xxh3_64_with_seed(
            name.as_bytes(),
            self.0,
        )))
    }
}

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A number from 0 up to, but without, 1.
    pub fn unit(&mut self) -> f64 {
        const MANTISSA_BITS: u32 = 53;
        (self.bits() >> (u64::BITS - MANTISSA_BITS)) as f64 / (1_u64 << MANTISSA_BITS) as f64
    }

    /// A number from 0 up to, but without, `end`, every one as likely as the others to within 2^-64.
    ///
    /// *Panics* when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "no number is below 0");
        ((u128::from(self.bits()) * u128::from(end)) >> u64::BITS) as u64
    }

    /// Whether something of this probability happens. Draws nothing where it never or always does.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && (probability >= 1.0 || self.unit() < probability)
    }

    /// A number of the exponential distribution with mean 1: the time between two events of a Poisson process.
    ///
    /// By von Neumann's method, which only compares: a logarithm is not rounded alike everywhere.
    pub fn exponential(&mut self) -> f64 {
        let mut whole = 0.0;
        loop {
            let first = self.unit();
            let (mut last, mut length) = (first, 1_u32);
            loop {
                let next = self.unit();
                if next >= last {
                    break;
                }
                last = next;
                length += 1;
            }
            // A falling run from `first` has odd length with probability e^-first.
            if length % 2 == 1 {
                return whole + first;
            }
            whole += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(stream: &mut Stream, count: usize) -> Vec<u64> {
        (0..count).map(|_| stream.bits()).collect()
    }

    #[test]
    fn a_draw_more_in_one_stream_does_not_shift_another() {
        let (mut delay, mut loss) = (Seed(7).stream("network.delay"), Seed(7).stream("network.loss"));
        let alone = draw(&mut loss.clone(), 100);
        let mut mixed = Vec::new();
        for round in 0..100 {
            draw(&mut delay, round % 3);
            mixed.push(loss.bits());
        }
        assert_eq!(mixed, alone);
    }

    #[test]
    fn seed_and_name_make_the_stream() {
        let of = |seed, name: &str| draw(&mut Seed(seed).stream(name), 4);
        assert_eq!(of(1, "clock"), of(1, "clock"));
        assert_ne!(of(1, "clock"), of(2, "clock"));
        assert_ne!(of(1, "clock"), of(1, "clocks"));
    }

    /// Recorded once: seeds that were kept from failures must go on meaning the same run.
    #[test]
    fn a_seed_means_the_same_numbers_for_ever() {
        assert_eq!(
            draw(&mut Seed(1).stream("network.delay"), 2),
            [5_470_480_958_679_255_169, 11_890_608_727_314_461_729]
        );
    }

    #[test]
    fn the_exponential_has_its_mean_and_its_tail() {
        const COUNT: u32 = 200_000;
        let mut stream = Seed(3).stream("test");
        let drawn: Vec<f64> = (0..COUNT).map(|_| stream.exponential()).collect();
        let mean = drawn.iter().sum::<f64>() / f64::from(COUNT);
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        for bound in [0.5_f64, 1.0, 2.0, 4.0] {
            let above = drawn.iter().filter(|value| **value > bound).count() as f64 / f64::from(COUNT);
            assert!((above - (-bound).exp()).abs() < 0.005, "{above} above {bound}");
        }
    }

    #[test]
    fn chances_are_met_and_certainties_draw_nothing() {
        let mut stream = Seed(4).stream("test");
        let met = (0..100_000).filter(|_| stream.chance(0.2)).count();
        assert!((19_500..20_500).contains(&met), "{met}");
        let before = stream.clone();
        assert!(!stream.chance(0.0) && stream.chance(1.0));
        assert_eq!(draw(&mut stream, 1), draw(&mut before.clone(), 1));
        assert!((0..10_000).all(|_| stream.below(3) < 3));
    }
}
