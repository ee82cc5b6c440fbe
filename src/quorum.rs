//! Majorities.
//!
//! Any two majorities of the same members share one: that is what carries a fact from one quorum to the next.

/// How many of `members` make a majority.
///
/// *Panics* for no members: an epoch without members cannot exist.
pub const fn majority(members: usize) -> usize {
    assert!(members > 0, "an epoch has at least one member");
    members / 2 + 1
}

/// The largest value that a majority has reached, given what each member has reached; sorts its argument.
///
/// *Given* one value per member of the epoch; a member of whom nothing is known counts with the lowest value.
pub fn reached_by_majority<T: Ord + Copy>(reached: &mut [T]) -> T {
    let quorum = majority(reached.len());
    reached.sort_unstable();
    reached[reached.len() - quorum]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_majorities_share_a_member() {
        for members in 1..=9_usize {
            let quorums: Vec<u32> = (0_u32..1 << members)
                .filter(|set| set.count_ones() as usize >= majority(members))
                .collect();
            for a in &quorums {
                assert!(quorums.iter().all(|b| a & b != 0), "{members} members, quorum {a:b}");
            }
        }
    }

    #[test]
    fn a_majority_has_reached_the_result_and_none_has_reached_more() {
        for members in 1..=5_u32 {
            for mut code in 0..4_u32.pow(members) {
                let mut reached = Vec::new();
                for _ in 0..members {
                    reached.push(code % 4);
                    code /= 4;
                }
                let all = reached.clone();
                let result = reached_by_majority(&mut reached);
                let at_least = |bound| all.iter().filter(|value| **value >= bound).count();
                assert!(at_least(result) >= majority(all.len()));
                assert!(at_least(result + 1) < majority(all.len()));
            }
        }
    }
}
