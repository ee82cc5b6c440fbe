//! Which of some additions, each of which may have taken effect or not, explain what a counter shows?
//!
//! That is the subset sum problem, so it is decided where it is cheap (equal amounts, or few of them), and else bounded.

use std::collections::BTreeSet;

/// Additions of different amounts up to which every subset is looked at: 3 to this power steps per read at most.
const SUBSETS_MAX: usize = 10;

/// Whether some subset explains a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Explanation {
    /// Some subset does, and it holds all that earlier values needed.
    Found,
    /// None does.
    Impossible,
    /// The value lies between the least and the greatest sum; more is not known.
    Undecided,
}

/// The unsure additions to one counter, in the order in which they can have taken effect.
#[derive(Clone, Debug)]
pub(super) struct UnsureAdditions {
    amounts: Vec<i64>,
    taken: Taken,
}

/// Which additions have taken effect, as far as earlier values tell.
#[derive(Clone, Debug)]
enum Taken {
    /// All amounts are equal: at least so many.
    Count(u64),
    /// One of these sets, as bits.
    OneOf(BTreeSet<u32>),
    /// Not known.
    Unknown,
}

impl UnsureAdditions {
    /// *Given* the amounts; none of them is 0.
    pub(super) fn new(amounts: Vec<i64>) -> Self {
        let taken = match &amounts[..] {
            [first, rest @ ..] if rest.iter().all(|amount| amount == first) => Taken::Count(0),
            amounts if amounts.len() <= SUBSETS_MAX => Taken::OneOf(BTreeSet::from([0])),
            _ => Taken::Unknown,
        };
        Self { amounts, taken }
    }

    /// Whether some of the first `possible` additions sum up to `extra`, with all that were needed before. If so, that
    /// is known from now on.
    pub(super) fn explain(&mut self, possible: usize, extra: i128) -> Explanation {
        let amounts = &self.amounts[..possible];
        match &mut self.taken {
            Taken::Count(count) => {
                let amount = i128::from(amounts.first().copied().unwrap_or(1));
                let needed = u64::try_from(extra / amount).ok().filter(|_| extra % amount == 0);
                match needed {
                    Some(needed) if needed >= *count && needed <= amounts.len() as u64 => {
                        *count = needed;
                        Explanation::Found
                    }
                    _ => Explanation::Impossible,
                }
            }
            Taken::OneOf(sets) => {
                let all = (1_u32 << amounts.len()) - 1;
                let sum = |set: u32| -> i128 {
                    let chosen = amounts.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1);
                    chosen.map(|(_, amount)| i128::from(*amount)).sum()
                };
                let mut larger = BTreeSet::new();
                for set in sets.iter() {
                    // Every subset of what is left, from all of it down to nothing.
                    let left = all & !set;
                    let mut more = left;
                    loop {
                        if sum(set | more) == extra {
                            larger.insert(set | more);
                        }
                        if more == 0 {
                            break;
                        }
                        more = (more - 1) & left;
                    }
                }
                if larger.is_empty() {
                    return Explanation::Impossible;
                }
                *sets = larger;
                Explanation::Found
            }
            Taken::Unknown => {
                let sum = |sign: i64| -> i128 {
                    let of_sign = amounts.iter().filter(|amount| amount.signum() == sign);
                    of_sign.map(|amount| i128::from(*amount)).sum()
                };
                match (sum(-1)..=sum(1)).contains(&extra) {
                    true => Explanation::Undecided,
                    false => Explanation::Impossible,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_amounts_are_counted_and_never_taken_back() {
        let mut additions = UnsureAdditions::new(vec![3, 3, 3]);
        assert_eq!(
            additions.explain(0, 3),
            Explanation::Impossible,
            "none can have happened yet"
        );
        assert_eq!(additions.explain(2, 3), Explanation::Found);
        assert_eq!(additions.explain(3, 4), Explanation::Impossible);
        assert_eq!(additions.explain(3, 9), Explanation::Found);
        assert_eq!(
            additions.explain(3, 6),
            Explanation::Impossible,
            "three were seen before"
        );
        assert_eq!(UnsureAdditions::new(vec![-2, -2]).explain(2, -4), Explanation::Found);
        assert_eq!(
            UnsureAdditions::new(vec![-2, -2]).explain(2, 2),
            Explanation::Impossible
        );
    }

    #[test]
    fn few_amounts_are_decided_exactly() {
        let mut additions = UnsureAdditions::new(vec![1, -1, 5]);
        assert_eq!(additions.explain(2, 5), Explanation::Impossible);
        assert_eq!(additions.explain(3, 4), Explanation::Found, "5 and -1");
        assert_eq!(additions.explain(3, 6), Explanation::Impossible, "the -1 has been seen");
        assert_eq!(additions.explain(3, 5), Explanation::Found, "all three");
        assert_eq!(UnsureAdditions::new(Vec::new()).explain(0, 0), Explanation::Found);
        assert_eq!(UnsureAdditions::new(Vec::new()).explain(0, 1), Explanation::Impossible);
    }

    #[test]
    fn many_amounts_are_bounded() {
        let mut additions = UnsureAdditions::new((1..=20).collect());
        assert_eq!(additions.explain(20, 210), Explanation::Undecided);
        assert_eq!(additions.explain(20, 211), Explanation::Impossible);
        assert_eq!(additions.explain(20, -1), Explanation::Impossible);
    }
}
