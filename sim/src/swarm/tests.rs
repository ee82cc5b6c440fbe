use super::*;
use crate::bundled;

fn swarm() -> Scenario {
    bundled::load("swarm", &[]).unwrap()
}

#[test]
fn what_is_drawn_can_be_run_stays_within_the_budget_and_is_the_same_each_time() {
    let scenario = swarm();
    for seed in 0..300 {
        let drawn = draw(&scenario, seed);
        assert_eq!(drawn, draw(&scenario, seed));
        assert_eq!(drawn.swarm, None);
        drawn.check().unwrap();
        if let Err(problem) = budget::check(&drawn) {
            panic!("seed {seed}: {problem:?}");
        }
    }
}

#[test]
fn some_seeds_draw_nothing_and_every_class_is_drawn_by_some() {
    let scenario = swarm();
    let drawn: Vec<_> = (0..200).map(|seed| draw(&scenario, seed).faults).collect();
    assert!(drawn.iter().any(|faults| faults.count() == 0));
    let some = |has: fn(&crate::scenario::FaultsConfig) -> bool| assert!(drawn.iter().any(has));
    some(|faults| faults.loss > 0.0 && faults.duplicate > 0.0 && faults.reorder > 0.0 && faults.late > 0.0);
    some(|faults| faults.crash.iter().any(|crash| crash.at_sync.is_some()));
    some(|faults| faults.crash.iter().any(|crash| crash.at_send.is_some()));
    some(|faults| faults.crash.iter().any(|crash| crash.resign));
    some(|faults| faults.crash.iter().any(|crash| crash.restart_after_s.is_none()));
    some(|faults| faults.crash.len() > 4);
    some(|faults| !faults.pause.is_empty() && !faults.cut.is_empty() && !faults.slow.is_empty());
    some(|faults| !faults.clock_step.is_empty());
}

#[test]
fn the_budget_refuses_what_is_too_much() {
    let refused = |settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let scenario = bundled::load("crash", &settings).unwrap();
        budget::check(&scenario).map_err(|problem| problem.message).unwrap_err()
    };
    let third = "faults.crash=[{place=1,at_s=5},{place=2,at_s=6},{place=3,at_s=7}]";
    assert_eq!(refused(&[third]), "at 7.000 s 3 of 5 members are impaired");
    let mixed = "faults.crash=[{place=1,at_s=5,restart_after_s=1},{place=2,at_s=5,restart_after_s=1}]";
    let pause = "faults.pause=[{place=3,at_s=5.5,for_s=1}]";
    assert_eq!(refused(&[mixed, pause]), "at 5.500 s 3 of 5 members are impaired");
    assert_eq!(
        refused(&["faults.crash=[]", "faults.loss=0.9"]),
        "0.9 is more than 0.25"
    );
    let cut = "faults.cut=[{from=1,to=2},{from=2,to=3},{from=4,to=3}]";
    assert_eq!(
        refused(&["faults.crash=[]", cut]),
        "at 0.000 s 3 of 5 members are impaired"
    );
}

#[test]
fn everybody_may_crash_at_once_if_all_start_again() {
    let all = "faults.crash=[{place=1,at_s=5,restart_after_s=1},{place=2,at_s=5,restart_after_s=1},\
        {place=3,at_s=5,restart_after_s=1},{place=4,at_s=5,restart_after_s=1},{place=5,at_s=5,restart_after_s=1}]";
    budget::check(&bundled::load("crash", &[all.to_owned()]).unwrap()).unwrap();
}
