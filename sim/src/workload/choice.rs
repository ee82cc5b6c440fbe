//! Which keys a transaction touches: the distributions that published comparisons use.
//!
//! A choice gives numbers from 0 up to a size; the workload makes keys of them. The low numbers are the popular ones of a
//! skewed choice: nothing in the system depends on where in the key order a popular key lies.

use crate::random::Stream;

/// Draws in vain for one key, because the transaction has it already, before the next free key is taken instead.
const REDRAWS_MAX: usize = 64;

/// How popular each of `size` keys is.
#[derive(Clone, Debug)]
pub struct Choice {
    size: u64,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Uniform,
    Zipf(Zipf),
    Hot(u64),
    Hotspot { hot: u64, operations: f64 },
}

/// A parameter outside its range: says which, its value and what is accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what} is {value}, but must be {accepted}")]
pub struct ChoiceError {
    /// The parameter.
    pub what: &'static str,
    /// Its value.
    pub value: f64,
    /// Which values are accepted.
    pub accepted: &'static str,
}

impl Choice {
    /// Every key alike.
    ///
    /// *Panics* without a key to choose; so do the others.
    pub fn uniform(size: u64) -> Self {
        assert!(size > 0, "a choice among no keys");
        Self {
            size,
            shape: Shape::Uniform,
        }
    }

    /// The key of rank `r` (from 1) with probability proportional to `r^-theta`.
    ///
    /// *Errors* where `theta` is negative or no number. *Cost*: constant, by rejection-inversion.
    pub fn zipf(size: u64, theta: f64) -> Result<Self, ChoiceError> {
        assert!(size > 0, "a choice among no keys");
        if !(theta.is_finite() && theta >= 0.0) {
            return Err(ChoiceError {
                what: "theta",
                value: theta,
                accepted: "a number from 0 (uniform) on, such as 0.99",
            });
        }
        Ok(Self {
            size,
            shape: Shape::Zipf(Zipf::new(size, theta)),
        })
    }

    /// Only the first `hot` keys, alike: with as many as a transaction has keys, all transactions meet on the same ones.
    ///
    /// *Errors* where `hot` is 0 or above `size`.
    pub fn hot(size: u64, hot: u64) -> Result<Self, ChoiceError> {
        assert!(size > 0, "a choice among no keys");
        if hot == 0 || hot > size {
            return Err(ChoiceError {
                what: "hot",
                value: hot as f64,
                accepted: "from 1 to the number of keys",
            });
        }
        Ok(Self {
            size,
            shape: Shape::Hot(hot),
        })
    }

    /// The first `data` (a share) of the keys get `operations` (a share) of the draws.
    ///
    /// *Errors* where a share is not above 0 and at most 1.
    pub fn hotspot(size: u64, data: f64, operations: f64) -> Result<Self, ChoiceError> {
        assert!(size > 0, "a choice among no keys");
        for (what, value) in [("data", data), ("operations", operations)] {
            if !(value > 0.0 && value <= 1.0) {
                return Err(ChoiceError {
                    what,
                    value,
                    accepted: "a share above 0 and at most 1",
                });
            }
        }
        let hot = ((size as f64 * data).round() as u64).clamp(1, size);
        Ok(Self {
            size,
            shape: Shape::Hotspot { hot, operations },
        })
    }

    /// The number of keys to choose from.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// One key.
    pub fn draw(&self, random: &mut Stream) -> u64 {
        let key = match &self.shape {
            Shape::Uniform => random.below(self.size),
            Shape::Zipf(zipf) => zipf.draw(random) - 1,
            Shape::Hot(hot) => random.below(*hot),
            Shape::Hotspot { hot, operations } => {
                if *hot == self.size || random.chance(*operations) {
                    random.below(*hot)
                } else {
                    hot + random.below(self.size - hot)
                }
            }
        };
        assert!(key < self.size, "drew key {key} of {}", self.size);
        key
    }

    /// `count` different keys in the order drawn; fewer where there are not as many.
    pub fn draw_distinct(&self, count: usize, random: &mut Stream) -> Vec<u64> {
        let reach = self.reach();
        let count = count.min(usize::try_from(reach).unwrap_or(usize::MAX));
        let mut keys: Vec<u64> = Vec::with_capacity(count);
        while keys.len() < count {
            let drawn = (0..REDRAWS_MAX)
                .map(|_| self.draw(random))
                .find(|key| !keys.contains(key));
            let key = drawn.or_else(|| (0..reach).find(|key| !keys.contains(key)));
            keys.push(key.expect("there are more keys in reach than were drawn"));
        }
        keys
    }

    /// The keys that can be drawn at all: those below this number.
    pub fn reach(&self) -> u64 {
        match self.shape {
            Shape::Hot(hot) => hot,
            Shape::Hotspot { hot, operations } if operations >= 1.0 => hot,
            _ => self.size,
        }
    }
}

/// Zipf's law over the ranks from 1 to `size`.
///
/// *Source*: Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions", ACM
/// TOMACS 6(3), 1996. `libm` computes alike on every machine, which the platform's own logarithm does not.
#[derive(Clone, Copy, Debug)]
struct Zipf {
    size: u64,
    theta: f64,
    /// The integral's values at both ends of the ranks.
    low: f64,
    high: f64,
    /// Up to this distance from its rank a point is accepted without more ado.
    near: f64,
}

impl Zipf {
    fn new(size: u64, theta: f64) -> Self {
        let mut zipf = Self {
            size,
            theta,
            low: 0.0,
            high: 0.0,
            near: 0.0,
        };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(size as f64 + 0.5);
        zipf.near = 2.0 - zipf.integral_inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    fn draw(&self, random: &mut Stream) -> u64 {
        loop {
            let point = self.high + random.unit() * (self.low - self.high);
            let at = self.integral_inverse(point);
            let rank = ((at + 0.5) as u64).clamp(1, self.size);
            let distance = rank as f64 - at;
            if distance <= self.near || point >= self.integral(rank as f64 + 0.5) - self.weight(rank as f64) {
                return rank;
            }
        }
    }

    /// `x^-theta`, the weight of a rank.
    fn weight(&self, x: f64) -> f64 {
        libm::exp(-self.theta * libm::log(x))
    }

    /// The integral of the weight from 1 to `x`.
    fn integral(&self, x: f64) -> f64 {
        let log = libm::log(x);
        over_itself((1.0 - self.theta) * log, libm::expm1) * log
    }

    /// Where the integral is `y`.
    fn integral_inverse(&self, y: f64) -> f64 {
        // Rounding must not lead out of the logarithm's range.
        let t = (y * (1.0 - self.theta)).max(-1.0);
        libm::exp(over_itself(t, libm::log1p) * y)
    }
}

/// `function(x) / x`, which is 1 at 0 for both functions used here.
fn over_itself(x: f64, function: fn(f64) -> f64) -> f64 {
    if x == 0.0 { 1.0 } else { function(x) / x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;

    const DRAWS: u64 = 100_000;

    /// How often each key was drawn.
    fn counts(choice: &Choice) -> Vec<u64> {
        let mut random = Seed(7).stream("test");
        let mut counts = vec![0; choice.size() as usize];
        (0..DRAWS).for_each(|_| counts[choice.draw(&mut random) as usize] += 1);
        counts
    }

    /// Whether a count lies within five standard deviations of what is expected.
    fn is_near(count: u64, probability: f64) -> bool {
        let expected = DRAWS as f64 * probability;
        (count as f64 - expected).abs() <= 5.0 * (expected * (1.0 - probability)).sqrt() + 1.0
    }

    #[test]
    fn uniform_draws_every_key_alike() {
        assert!(counts(&Choice::uniform(50)).iter().all(|count| is_near(*count, 0.02)));
    }

    #[test]
    fn zipf_draws_each_rank_as_often_as_its_power_says() {
        for theta in [0.0, 0.5, 0.75, 0.99, 1.0, 1.1, 2.0] {
            let weights: Vec<f64> = (1..=100).map(|rank| f64::from(rank).powf(-theta)).collect();
            let total: f64 = weights.iter().sum();
            let counts = counts(&Choice::zipf(100, theta).unwrap());
            for (key, (count, weight)) in counts.iter().zip(&weights).enumerate() {
                assert!(
                    is_near(*count, weight / total),
                    "theta {theta}, key {key}: {count} draws"
                );
            }
        }
    }

    #[test]
    fn hot_draws_only_the_hot_keys_and_hotspot_gives_them_their_share() {
        let hot = counts(&Choice::hot(100, 3).unwrap());
        assert!(hot[..3].iter().all(|count| *count > 0) && hot[3..].iter().all(|count| *count == 0));
        let spot = counts(&Choice::hotspot(100, 0.2, 0.8).unwrap());
        assert!(is_near(spot[..20].iter().sum(), 0.8));
        assert!(spot[20..].iter().all(|count| is_near(*count, 0.2 / 80.0)));
    }

    #[test]
    fn distinct_draws_never_repeat_and_give_what_there_is() {
        let mut random = Seed(1).stream("test");
        let choices = [
            Choice::uniform(4),
            Choice::zipf(4, 8.0).unwrap(),
            Choice::hot(100, 4).unwrap(),
            Choice::hotspot(40, 0.1, 1.0).unwrap(),
        ];
        for choice in choices {
            for _ in 0..100 {
                let mut keys = choice.draw_distinct(10, &mut random);
                keys.sort_unstable();
                assert_eq!(keys, [0, 1, 2, 3]);
            }
        }
    }

    #[test]
    fn parameters_outside_their_range_are_refused_by_name() {
        assert_eq!(Choice::zipf(10, -1.0).unwrap_err().what, "theta");
        assert_eq!(Choice::zipf(10, f64::NAN).unwrap_err().what, "theta");
        assert_eq!(Choice::hot(10, 11).unwrap_err().what, "hot");
        assert_eq!(Choice::hotspot(10, 0.0, 0.5).unwrap_err().what, "data");
        assert_eq!(Choice::hotspot(10, 0.5, 1.5).unwrap_err().what, "operations");
    }
}
