//! The laws of the merge operators, and that what was merged is what is got.

use std::collections::BTreeSet;

use plimsoll::codec;
use plimsoll::key::{Key, Value};
use plimsoll::thunk::{Get, Merge, Operator, OperatorError, Registry, Write, Written};
use proptest::prelude::*;

use crate::database::{Database, number};

const ALL: [Operator; 5] = [
    Operator::Add,
    Operator::Min,
    Operator::Max,
    Operator::Append,
    Operator::Union,
];

/// What an operator is given. Numbers are such that sums of a few overflow at times.
fn operand(operator: Operator) -> BoxedStrategy<Value> {
    let byte = 0..4_u8;
    match operator {
        Operator::Add | Operator::Min | Operator::Max => {
            let extreme = prop::sample::select(vec![i64::MIN, i64::MIN / 2, i64::MAX / 2, i64::MAX]);
            prop_oneof![4 => -9..9_i64, 1 => extreme].prop_map(number).boxed()
        }
        Operator::Append => prop::collection::vec(byte, 0..4).prop_map(Value::new).boxed(),
        Operator::Union => prop::collection::vec(prop::collection::vec(byte, 0..3), 0..4)
            .prop_map(|elements| codec::encode_value(&elements).expect("plain data"))
            .boxed(),
    }
}

/// An operator, perhaps something stored, and operands.
fn operands() -> impl Strategy<Value = (Operator, Option<Value>, Vec<Value>)> {
    prop::sample::select(ALL.to_vec()).prop_flat_map(|operator| {
        let stored = prop::option::of(operand(operator));
        let operands = prop::collection::vec(operand(operator), 1..6);
        (Just(operator), stored, operands)
    })
}

fn all_in_turn(operator: Operator, stored: Option<&Value>, operands: &[Value]) -> Result<Value, OperatorError> {
    let (first, others) = operands.split_first().expect("at least one");
    others
        .iter()
        .try_fold(operator.apply(stored, first)?, |merged, operand| {
            operator.apply(Some(&merged), operand)
        })
}

proptest! {
    #[test]
    fn operands_may_be_combined_before_they_are_merged((operator, stored, operands) in operands()) {
        let one_by_one = all_in_turn(operator, stored.as_ref(), &operands);
        let at_once = all_in_turn(operator, None, &operands)
            .and_then(|combined| operator.apply(stored.as_ref(), &combined));
        match (one_by_one, at_once) {
            // A sum on the way may overflow where another way round it does not: then nothing is promised but that it is refused.
            (Err(OperatorError::Overflow), _) | (_, Err(OperatorError::Overflow)) => prop_assert_eq!(operator, Operator::Add),
            (one_by_one, at_once) => prop_assert_eq!(one_by_one, at_once),
        }
    }

    #[test]
    fn all_but_append_do_not_ask_for_the_order((operator, stored, operands) in operands()) {
        let mut other_way_round = operands.clone();
        other_way_round.reverse();
        let forwards = all_in_turn(operator, stored.as_ref(), &operands);
        let backwards = all_in_turn(operator, stored.as_ref(), &other_way_round);
        match (forwards, backwards) {
            _ if operator == Operator::Append => {}
            (Err(OperatorError::Overflow), _) | (_, Err(OperatorError::Overflow)) => prop_assert_eq!(operator, Operator::Add),
            (forwards, backwards) => prop_assert_eq!(forwards, backwards),
        }
    }

    #[test]
    fn min_max_and_union_count_an_operand_once((operator, stored, operands) in operands()) {
        if matches!(operator, Operator::Min | Operator::Max | Operator::Union) {
            let merged = all_in_turn(operator, stored.as_ref(), &operands).expect("of its type");
            let again = all_in_turn(operator, Some(&merged), &operands).expect("of its type");
            prop_assert_eq!(again, merged);
        }
    }

    #[test]
    fn a_union_has_every_element_once_and_in_order(sets in prop::collection::vec(prop::collection::vec(0..4_u8, 0..4), 1..5)) {
        let operands: Vec<Value> = sets
            .iter()
            .map(|set| codec::encode_value(&set.iter().map(|element| vec![*element]).collect::<Vec<_>>()).expect("plain data"))
            .collect();
        let union = all_in_turn(Operator::Union, None, &operands).expect("sets");
        let elements: BTreeSet<Vec<u8>> = sets.into_iter().flatten().map(|element| vec![element]).collect();
        prop_assert_eq!(union, codec::encode_value(&elements).expect("plain data"));
    }

    /// In one transaction, in several, and as entries of a write: what is got is what the operator makes of them in turn.
    #[test]
    fn what_was_merged_is_what_is_got((operator, stored, operands) in operands()) {
        let expected = all_in_turn(operator, stored.as_ref(), &operands).ok();
        let database = || {
            let mut database = Database::of(Registry::with_builtins());
            database.store(&stored.clone().map(|value| ("k", value)).into_iter().collect::<Vec<_>>());
            database
        };
        let got = |mut database: Database| database.run(&Get { keys: vec!["k".into()] }).expect("declared").remove(0);
        let merge = |operands: &[Value]| {
            let operands = operands.iter().map(|operand| (Key::from("k"), operator, operand.clone())).collect();
            Merge { operands }
        };
        let mut at_once = database();
        let mut by_write = database();
        let merged = at_once.run(&merge(&operands));
        let entries = operands.iter().fold(Write::new(), |write, operand| write.append("k", operand.clone(), operator));
        let written = by_write.run(&entries);
        prop_assert_eq!((merged.is_ok(), written.is_ok()), (expected.is_some(), expected.is_some()));
        match &expected {
            None => {
                prop_assert_eq!(got(at_once), stored.clone(), "nothing took effect");
                prop_assert_eq!(got(by_write), stored, "nothing took effect");
            }
            Some(value) => {
                let mut one_by_one = database();
                for operand in &operands {
                    one_by_one.run(&merge(std::slice::from_ref(operand))).expect("no sum on the way overflows");
                }
                for database in [at_once, by_write, one_by_one] {
                    prop_assert_eq!(got(database), Some(value.clone()));
                }
                let told = match Operator::number(value) {
                    Ok(number) if !matches!(operator, Operator::Append | Operator::Union) => Written::Number(number),
                    _ => Written::Done,
                };
                prop_assert_eq!(written.expect("it was written").pop(), Some(told));
            }
        }
    }
}

#[test]
fn a_sum_overflows_on_the_way_and_is_refused_though_the_whole_would_not() {
    let operands = [i64::MAX, 1, -1].map(number);
    let merged = all_in_turn(Operator::Add, None, &operands);
    assert_eq!(merged, Err(OperatorError::Overflow));
    let combined = Operator::Add
        .apply(Some(&operands[1]), &operands[2])
        .expect("no overflow");
    assert_eq!(Operator::Add.apply(Some(&operands[0]), &combined), Ok(number(i64::MAX)));
}
