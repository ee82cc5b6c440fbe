//! Many ids at once, each submitted twice at once.

use std::collections::BTreeSet;

use plimsoll::Plimsoll;

use crate::support::{add_one, check_status, sum};

const IDS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_increments_are_submitted_twice_at_once_at_three_replicas_and_come_to_a_hundred() {
    let database = Plimsoll::builder().replicas(3).open().await.unwrap();
    let submit = |id| {
        let database = database.clone();
        tokio::spawn(async move { add_one(&database, id).await.unwrap() })
    };
    // Each call asks the next replica first, so that the two of an id are at two of them.
    let pairs: Vec<_> = (0..IDS)
        .map(|_| Plimsoll::new_id())
        .map(|id| (submit(id), submit(id)))
        .collect();
    let mut outputs = BTreeSet::new();
    let mut nodes = BTreeSet::new();
    let mut all = Vec::new();
    for (one, other) in pairs {
        let told = one.await.unwrap();
        assert_eq!(told, other.await.unwrap());
        outputs.insert(told.output);
        nodes.insert(told.timestamp.node);
        all.push(told);
    }
    assert_eq!(outputs, (1..=IDS as i64).collect(), "each has added to another sum");
    // On a machine that is very busy one of them may be put out for a while.
    assert!(nodes.len() >= 2, "several have coordinated, not only {nodes:?}");
    assert_eq!(sum(&database).await, IDS as i64);
    for told in &all {
        check_status(&database, told, 3).await;
    }
    database.shutdown().await;
}
