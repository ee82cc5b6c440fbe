//! Named scripts, each with what it must see and leave, over 1=10, 3=30 and 5=50.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use plimsoll::store::disk::FolderDisk;
use plimsoll::thunk::Operator::{Add, Append, Max, Min, Union};

use super::script::{KEYS, Map, Script, Span, Step, model, stored, told_all, told_entries};
use super::{in_flush, in_memory, on_disk, registry};
use crate::database::{Database, Flushed, Replica};
use Step::{Delete, Get, Merge, Put};

/// A script, what its steps see, and what is stored afterwards.
struct Case {
    name: &'static str,
    steps: Vec<Step>,
    sees: &'static str,
    leaves: &'static str,
}

fn case(name: &'static str, steps: impl Into<Vec<Step>>, sees: &'static str, leaves: &'static str) -> Case {
    let steps = steps.into();
    Case {
        name,
        steps,
        sees,
        leaves,
    }
}

const BASE: &str = "[1=10 3=30 5=50]";

fn base() -> Vec<Step> {
    let wiped = (0..KEYS).map(Delete);
    wiped.chain([Put(1, 10), Put(3, 30), Put(5, 50)]).collect()
}

fn scan(from: u8, to: u8) -> Step {
    first(usize::MAX, from, to)
}

fn first(limit: usize, from: u8, to: u8) -> Step {
    Step::Scan(Span::Between(from, to), limit)
}

fn back(from: u8, to: u8) -> Step {
    last(usize::MAX, from, to)
}

fn last(limit: usize, from: u8, to: u8) -> Step {
    Step::ScanBack(Span::Between(from, to), limit)
}

/// A nested script that is kept.
fn kept(steps: impl Into<Vec<Step>>) -> Step {
    let steps = steps.into();
    let refuses = false;
    Step::Call(Script { steps, refuses })
}

/// A nested script that refuses after its last step.
fn undone(steps: impl Into<Vec<Step>>) -> Step {
    let steps = steps.into();
    let refuses = true;
    Step::Call(Script { steps, refuses })
}

fn gets() -> Vec<Case> {
    vec![
        case("a stored key is got", [Get(1)], "10", BASE),
        case("an absent key is got", [Get(2)], "none", BASE),
        case("put then get", [Put(2, 20), Get(2)], "20", "[1=10 2=20 3=30 5=50]"),
        case(
            "put over a stored key then get",
            [Put(3, 31), Get(3)],
            "31",
            "[1=10 3=31 5=50]",
        ),
        case(
            "put twice then get",
            [Put(2, 20), Put(2, 21), Get(2)],
            "21",
            "[1=10 2=21 3=30 5=50]",
        ),
        case("put what is there already then get", [Put(1, 10), Get(1)], "10", BASE),
        case("delete then get", [Delete(1), Get(1)], "none", "[3=30 5=50]"),
        case("delete what is not there then get", [Delete(2), Get(2)], "none", BASE),
        case(
            "delete then put then get",
            [Delete(1), Put(1, 11), Get(1)],
            "11",
            "[1=11 3=30 5=50]",
        ),
        case(
            "put then delete then get",
            [Put(2, 20), Delete(2), Get(2)],
            "none",
            BASE,
        ),
        case(
            "put over a stored key then delete then get",
            [Put(1, 11), Delete(1), Get(1)],
            "none",
            "[3=30 5=50]",
        ),
        case(
            "get does not see what comes after it",
            [Get(1), Put(1, 11)],
            "10",
            "[1=11 3=30 5=50]",
        ),
    ]
}

fn merges() -> Vec<Case> {
    vec![
        case("merge then get", [Merge(1, Add, 5), Get(1)], "15", "[1=15 3=30 5=50]"),
        case(
            "merge twice then get",
            [Merge(1, Add, 5), Merge(1, Add, -1), Get(1)],
            "14",
            "[1=14 3=30 5=50]",
        ),
        case(
            "merge with nothing then get",
            [Merge(2, Add, 5), Get(2)],
            "5",
            "[1=10 2=5 3=30 5=50]",
        ),
        case(
            "put then merge then get",
            [Put(2, 20), Merge(2, Max, 7), Get(2)],
            "20",
            "[1=10 2=20 3=30 5=50]",
        ),
        case(
            "delete then merge then get",
            [Delete(1), Merge(1, Add, 4), Get(1)],
            "4",
            "[1=4 3=30 5=50]",
        ),
        case(
            "merge then delete then get",
            [Merge(1, Add, 4), Delete(1), Get(1)],
            "none",
            "[3=30 5=50]",
        ),
        case(
            "merge then put then get",
            [Merge(1, Min, 4), Put(1, 9), Get(1)],
            "9",
            "[1=9 3=30 5=50]",
        ),
        case(
            "merge then scan",
            [Merge(3, Min, 4), scan(2, 5)],
            "[3=4]",
            "[1=10 3=4 5=50]",
        ),
        case(
            "different operators on one key",
            [Merge(1, Add, 5), Merge(1, Min, 12), Merge(1, Max, 13), Get(1)],
            "13",
            "[1=13 3=30 5=50]",
        ),
        case(
            "append then get",
            [Merge(2, Append, 1), Merge(2, Append, 2), Get(2)],
            "x0102",
            "[1=10 2=x0102 3=30 5=50]",
        ),
        case(
            "union then get, in order and each once",
            [Merge(2, Union, 7), Merge(2, Union, 3), Merge(2, Union, 7), Get(2)],
            "x0201030107",
            "[1=10 2=x0201030107 3=30 5=50]",
        ),
        case(
            "merge of another type fails within a nested thunk and leaves the own write",
            [
                Merge(2, Append, 1),
                kept([Put(1, 11), Merge(2, Add, 1)]),
                Get(1),
                Get(2),
            ],
            "undone; 10; x01",
            "[1=10 2=x01 3=30 5=50]",
        ),
    ]
}

fn scans() -> Vec<Case> {
    let everything = Span::From(0);
    vec![
        case("scan of what is stored", [scan(0, 8)], "[1=10 3=30 5=50]", BASE),
        case(
            "put then scan",
            [Put(2, 20), scan(0, 8)],
            "[1=10 2=20 3=30 5=50]",
            "[1=10 2=20 3=30 5=50]",
        ),
        case(
            "put over a stored key then scan",
            [Put(3, 31), scan(0, 8)],
            "[1=10 3=31 5=50]",
            "[1=10 3=31 5=50]",
        ),
        case(
            "delete then scan",
            [Delete(3), scan(0, 8)],
            "[1=10 5=50]",
            "[1=10 5=50]",
        ),
        case(
            "delete what is not there then scan",
            [Delete(2), scan(0, 8)],
            "[1=10 3=30 5=50]",
            BASE,
        ),
        case(
            "put then delete then scan",
            [Put(2, 20), Delete(2), scan(0, 8)],
            "[1=10 3=30 5=50]",
            BASE,
        ),
        case(
            "delete everything then scan",
            [Delete(1), Delete(3), Delete(5), scan(0, 8)],
            "[]",
            "[]",
        ),
        case(
            "put before the first and behind the last then scan",
            [Put(0, 0), Put(7, 70), scan(0, 8)],
            "[0=0 1=10 3=30 5=50 7=70]",
            "[0=0 1=10 3=30 5=50 7=70]",
        ),
        case(
            "scan does not see what comes after it",
            [scan(0, 8), Delete(1)],
            "[1=10 3=30 5=50]",
            "[3=30 5=50]",
        ),
        case(
            "the start of a range is in it",
            [Put(2, 20), scan(2, 4)],
            "[2=20 3=30]",
            "[1=10 2=20 3=30 5=50]",
        ),
        case(
            "the end of a range is not",
            [Put(4, 40), scan(2, 4)],
            "[3=30]",
            "[1=10 3=30 4=40 5=50]",
        ),
        case(
            "own writes around a range are not in it",
            [Put(2, 20), Put(6, 60), scan(3, 6)],
            "[3=30 5=50]",
            "[1=10 2=20 3=30 5=50 6=60]",
        ),
        case(
            "a range without an end",
            [Put(7, 70), Step::Scan(Span::From(4), 9)],
            "[5=50 7=70]",
            "[1=10 3=30 5=50 7=70]",
        ),
        case(
            "a range of one key that was put",
            [Put(2, 20), Step::Scan(Span::Prefix(2), 9)],
            "[2=20]",
            "[1=10 2=20 3=30 5=50]",
        ),
        case(
            "a range of one key that was deleted",
            [Delete(3), Step::Scan(Span::Prefix(3), 9)],
            "[]",
            "[1=10 5=50]",
        ),
        case(
            "an empty range",
            [Put(3, 31), scan(3, 3), back(3, 3)],
            "[]; []",
            "[1=10 3=31 5=50]",
        ),
        case(
            "a range that ends before it begins",
            [Put(3, 31), scan(5, 1), back(5, 1)],
            "[]; []",
            "[1=10 3=31 5=50]",
        ),
        case(
            "a range without entries becomes one by a put",
            [scan(6, 8), Put(6, 60), scan(6, 8)],
            "[]; [6=60]",
            "[1=10 3=30 5=50 6=60]",
        ),
        case("reverse scan of what is stored", [back(0, 8)], "[5=50 3=30 1=10]", BASE),
        case(
            "put then reverse scan",
            [Put(4, 40), back(0, 8)],
            "[5=50 4=40 3=30 1=10]",
            "[1=10 3=30 4=40 5=50]",
        ),
        case(
            "delete then reverse scan",
            [Delete(5), back(0, 8)],
            "[3=30 1=10]",
            "[1=10 3=30]",
        ),
        case(
            "a reverse scan ends above the end of its range",
            [Put(4, 40), back(1, 4)],
            "[3=30 1=10]",
            "[1=10 3=30 4=40 5=50]",
        ),
        case(
            "a reverse scan without an end",
            [Put(6, 60), Step::ScanBack(everything, 2)],
            "[6=60 5=50]",
            "[1=10 3=30 5=50 6=60]",
        ),
    ]
}

fn limits() -> Vec<Case> {
    vec![
        case(
            "a limit of none",
            [Put(0, 0), first(0, 0, 8), last(0, 0, 8)],
            "[]; []",
            "[0=0 1=10 3=30 5=50]",
        ),
        case("a limited scan", [first(2, 0, 8)], "[1=10 3=30]", BASE),
        case("a limited reverse scan", [last(2, 0, 8)], "[5=50 3=30]", BASE),
        case(
            "put before the first then limited scan",
            [Put(0, 0), first(2, 0, 8)],
            "[0=0 1=10]",
            "[0=0 1=10 3=30 5=50]",
        ),
        case(
            "put behind the last then limited scan",
            [Put(7, 70), first(3, 0, 8)],
            "[1=10 3=30 5=50]",
            "[1=10 3=30 5=50 7=70]",
        ),
        case(
            "put behind the last then limited reverse scan",
            [Put(7, 70), last(2, 0, 8)],
            "[7=70 5=50]",
            "[1=10 3=30 5=50 7=70]",
        ),
        case(
            "delete the first then limited scan reaches behind it",
            [Delete(1), first(2, 0, 8)],
            "[3=30 5=50]",
            "[3=30 5=50]",
        ),
        case(
            "delete the last then limited reverse scan reaches before it",
            [Delete(5), last(2, 0, 8)],
            "[3=30 1=10]",
            "[1=10 3=30]",
        ),
        case(
            "delete two then limited scan reaches behind both",
            [Delete(1), Delete(3), first(1, 0, 8)],
            "[5=50]",
            "[5=50]",
        ),
        case(
            "a limit beyond what is there",
            [Put(2, 20), first(100, 0, 8)],
            "[1=10 2=20 3=30 5=50]",
            "[1=10 2=20 3=30 5=50]",
        ),
    ]
}

fn nested() -> Vec<Case> {
    vec![
        case(
            "nested kept then get",
            [kept([Put(1, 11)]), Get(1)],
            "(); 11",
            "[1=11 3=30 5=50]",
        ),
        case(
            "nested undone then get",
            [undone([Put(1, 11)]), Get(1)],
            "undone; 10",
            BASE,
        ),
        case(
            "nested undone then scan",
            [undone([Put(2, 20), Delete(3)]), scan(0, 8)],
            "undone; [1=10 3=30 5=50]",
            BASE,
        ),
        case(
            "nested undone then reverse limited scan",
            [undone([Put(7, 70), Delete(5)]), last(1, 0, 8)],
            "undone; [5=50]",
            BASE,
        ),
        case(
            "nested kept then scan",
            [kept([Put(2, 20), Delete(3)]), scan(0, 8)],
            "(); [1=10 2=20 5=50]",
            "[1=10 2=20 5=50]",
        ),
        case(
            "nested sees what the outer wrote",
            [Put(2, 20), Delete(3), kept([Get(2), scan(0, 8)])],
            "(20; [1=10 2=20 5=50])",
            "[1=10 2=20 5=50]",
        ),
        case(
            "nested undone gives back the outer's write",
            [Put(1, 11), undone([Put(1, 12)]), Get(1)],
            "undone; 11",
            "[1=11 3=30 5=50]",
        ),
        case(
            "nested undone gives back the outer's deletion",
            [Delete(1), undone([Put(1, 12)]), Get(1), scan(0, 4)],
            "undone; none; [3=30]",
            "[3=30 5=50]",
        ),
        case(
            "nested undone of a merge",
            [Merge(1, Add, 1), undone([Merge(1, Add, 5)]), Get(1)],
            "undone; 11",
            "[1=11 3=30 5=50]",
        ),
        case(
            "nested writes one key often and is undone",
            [undone([Put(1, 11), Delete(1), Put(1, 12), Merge(1, Add, 1)]), Get(1)],
            "undone; 10",
            BASE,
        ),
        case(
            "write after an undone nested",
            [undone([Put(2, 20)]), Put(2, 21), Get(2)],
            "undone; 21",
            "[1=10 2=21 3=30 5=50]",
        ),
        case(
            "two nested, the first undone",
            [undone([Put(1, 11)]), kept([Merge(1, Add, 1)]), Get(1)],
            "undone; (); 11",
            "[1=11 3=30 5=50]",
        ),
        case(
            "two nested, the second undone",
            [kept([Merge(1, Add, 1)]), undone([Put(1, 99)]), Get(1)],
            "(); undone; 11",
            "[1=11 3=30 5=50]",
        ),
        case(
            "nested in nested, both kept",
            [kept([Put(2, 20), kept([Put(4, 40), Get(2)]), Get(4)]), scan(0, 8)],
            "((20); 40); [1=10 2=20 3=30 4=40 5=50]",
            "[1=10 2=20 3=30 4=40 5=50]",
        ),
        case(
            "nested in nested, the inner undone",
            [
                kept([Put(2, 20), undone([Put(2, 21), Put(4, 40)]), Get(2), Get(4)]),
                Get(2),
            ],
            "(undone; 20; none); 20",
            "[1=10 2=20 3=30 5=50]",
        ),
        case(
            "nested in nested, the outer undone with the kept inner",
            [undone([Put(2, 20), kept([Put(4, 40)])]), scan(0, 8)],
            "undone; [1=10 3=30 5=50]",
            BASE,
        ),
        case(
            "three deep, the middle undone",
            [
                Put(1, 11),
                kept([Put(1, 12), undone([Put(1, 13), kept([Put(1, 14), Put(2, 20)])]), Get(1)]),
                scan(0, 3),
            ],
            "(undone; 12); [1=12]",
            "[1=12 3=30 5=50]",
        ),
        case(
            "an empty nested is nothing",
            [kept([]), undone([]), scan(0, 8)],
            "(); undone; [1=10 3=30 5=50]",
            BASE,
        ),
    ]
}

fn cases() -> Vec<Case> {
    [gets(), merges(), scans(), limits(), nested()]
        .into_iter()
        .flatten()
        .collect()
}

/// Runs every case on one replica, each over the base again.
fn assert_all<R: Replica>(mut database: Database<R>) {
    for Case {
        name,
        steps,
        sees,
        leaves,
    } in cases()
    {
        let mut map = Map::new();
        for steps in [base(), steps] {
            let refuses = false;
            let script = Script { steps, refuses };
            let seen = database.run(&script).expect("declared");
            assert_eq!(Some(&seen), model(&script, &mut map).as_ref(), "{name}, in a plain map");
            assert_eq!(database.contents(), stored(&map), "{name}, in a plain map");
            if !seen.is_empty() {
                assert_eq!(told_all(&seen), sees, "{name}");
            }
        }
        assert_eq!(told_entries(&database.contents()), leaves, "{name}");
    }
}

#[test]
fn named_scripts_over_memory_see_and_leave_what_is_written_beside_them() {
    assert_all(in_memory());
}

#[test]
fn named_scripts_over_a_simulated_disk_see_and_leave_what_is_written_beside_them() {
    assert_all(on_disk());
}

#[test]
fn named_scripts_half_way_through_flushes_see_and_leave_what_is_written_beside_them() {
    assert_all(in_flush());
}

#[test]
fn named_scripts_over_a_folder_see_and_leave_what_is_written_beside_them() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("own-writes");
    // What an earlier run has left is nobody's.
    let _ = fs::remove_dir_all(&folder);
    let disk = FolderDisk::open(&folder).expect("the folder can be made");
    assert_all(Database::over(Flushed::new(registry(), Arc::new(disk))));
    fs::remove_dir_all(&folder).expect("nobody uses it any more");
}

#[test]
fn the_names_are_different_and_no_script_was_lost() {
    let names: BTreeSet<_> = cases().iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().len(), "a name stands twice");
    assert_eq!(names.len(), 75);
    assert!(
        cases().iter().all(|case| !case.sees.is_empty()),
        "each must see something"
    );
}
