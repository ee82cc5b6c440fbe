//! The scenes are what they say they are.

use plimsoll_model::scene::Scene;
use plimsoll_model::settings::{Disk, Settings};
use plimsoll_model::state::State;

fn scene(scene: Scene, disk: Disk) -> State {
    scene.state(&Settings {
        scene,
        disk,
        ..Settings::default()
    })
}

#[test]
fn in_the_answered_scene_n3_lacks_what_was_answered_and_has_promised_beyond() {
    for disk in [Disk::Slow, Disk::Instant] {
        let state = scene(Scene::Answered, disk);
        let answered = *state.history.answered.first().expect("n1 was answered");
        let first = (plimsoll::id::Epoch::FIRST, answered.node, answered.hlc);
        let holders: Vec<bool> = state.hosts.iter().map(|host| host.holds(first)).collect();
        assert_eq!(holders, [true, true, false]);
        let promised = state.history.promised[&Settings::node_id(2)];
        assert!(promised > answered.hlc);
    }
}

#[test]
fn in_the_promised_scene_the_record_is_on_one_slow_disk_and_everybody_has_promised_beyond() {
    let state = scene(Scene::Promised, Disk::Slow);
    let (place, _) = state.history.issued.first_key_value().expect("n1 has issued");
    let holders: Vec<bool> = state.hosts.iter().map(|host| host.holds(*place)).collect();
    assert_eq!(holders, [true, false, false]);
    for place_of_node in 1..3 {
        assert!(state.history.promised[&Settings::node_id(place_of_node)] > place.2);
    }
    assert!(
        !state.hosts[1].pending.is_empty(),
        "n2 has promised its own ballot, but not durably"
    );
}

#[test]
fn in_the_parted_scene_n1_alone_is_in_the_first_epoch_and_coordinates_in_no_other() {
    let state = scene(Scene::Parted, Disk::Instant);
    let memberships: Vec<_> = state
        .hosts
        .iter()
        .map(|host| host.node.as_ref().expect("all are up").membership().clone())
        .collect();
    let epochs: Vec<u64> = memberships.iter().map(|it| it.epoch.number()).collect();
    assert_eq!(epochs, [1, 2, 2]);
    assert!(!memberships[1].is_coordinator(Settings::node_id(0)));
}
