//! Files of histories: what they look like, and that nothing is lost on the way.

use plimsoll::id::NodeId;
use plimsoll::time::Hlc;
use proptest::prelude::*;

use super::*;

fn entry(phase: Phase, value: Vec<MicroOperation>) -> Entry {
    Entry {
        process: 0,
        time_us: 123,
        phase,
        function: "txn",
        value,
        id: None,
        timestamp: None,
        error: None,
        region: 2,
    }
}

fn written(history: &History, edn: bool) -> String {
    let mut bytes = Vec::new();
    if edn {
        history.write_edn(&mut bytes).expect("memory does not fail");
    } else {
        history.write_json_lines(&mut bytes).expect("memory does not fail");
    }
    String::from_utf8(bytes).expect("text")
}

fn small_history() -> History {
    let mut ok = entry(
        Phase::Ok,
        vec![
            MicroOperation::Append { key: 3, element: 2 },
            MicroOperation::ReadList {
                key: 3,
                elements: Some(vec![1, 2]),
            },
            MicroOperation::ReadRegister {
                key: 4,
                value: Some(None),
            },
            MicroOperation::ReadCounter {
                key: 5,
                value: Some(-1),
            },
        ],
    );
    ok.timestamp = Some(Timestamp {
        hlc: Hlc::from_bits(77),
        node: NodeId::new(1),
    });
    ok.id = Some(TransactionId::from_u128(5));
    let mut info = entry(
        Phase::Info,
        vec![
            MicroOperation::Write { key: 4, value: 9 },
            MicroOperation::Add { key: 5, amount: -3 },
        ],
    );
    info.error = Some("lost \"it\"".to_owned());
    History {
        entries: vec![
            entry(Phase::Invoke, vec![MicroOperation::ReadList { key: 3, elements: None }]),
            ok,
            info,
        ],
    }
}

#[test]
fn edn_is_what_elle_reads() {
    let expected = concat!(
        "{:index 0, :type :invoke, :process 0, :time 123000, :f :txn, :value [[:r 3 nil]], :region 2}\n",
        "{:index 1, :type :ok, :process 0, :time 123000, :f :txn, ",
        ":value [[:append 3 2] [:r 3 [1 2]] [:r 4 nil] [:counter 5 -1]], ",
        ":id \"00000000-0000-0000-0000-000000000005\", :timestamp [77 1], :region 2}\n",
        "{:index 2, :type :info, :process 0, :time 123000, :f :txn, :value [[:w 4 9] [:add 5 -3]], ",
        ":error \"lost \\\"it\\\"\", :region 2}\n",
    );
    assert_eq!(written(&small_history(), true), expected);
}

#[test]
fn json_has_one_object_per_line() {
    let expected = concat!(
        r#"{"index":0,"type":"invoke","process":0,"time":123000,"f":"txn","value":[["r",3,null]],"region":2}"#,
        "\n",
        r#"{"index":1,"type":"ok","process":0,"time":123000,"f":"txn","#,
        r#""value":[["append",3,2],["r",3,[1,2]],["r",4,null,"unwritten"],["counter",5,-1]],"#,
        r#""id":"00000000-0000-0000-0000-000000000005","timestamp":{"hlc":77,"node":1},"region":2}"#,
        "\n",
        r#"{"index":2,"type":"info","process":0,"time":123000,"f":"txn","value":[["w",4,9],["add",5,-3]],"#,
        r#""error":"lost \"it\"","region":2}"#,
        "\n",
    );
    assert_eq!(written(&small_history(), false), expected);
}

#[test]
fn a_history_of_another_program_needs_no_marks() {
    let text = concat!(
        r#"{"type":"invoke","process":7,"time":1999,"f":"mine","value":[["r",1,null],["r",2,null],["w",1,5]]}"#,
        "\n\n",
        r#"{"type":"ok","process":7,"time":3000,"f":"mine","value":[["r",1,null],["r",2,null],["w",1,5]],"error":[1]}"#,
    );
    let history = History::read_json_lines(text.as_bytes()).expect("well formed");
    let value = |index: usize| history.entries[index].value.clone();
    assert_eq!(history.entries[0].time_us, 1);
    assert_eq!(history.entries[0].function, "mine");
    assert_eq!(history.entries[1].error.as_deref(), Some("[1]"));
    assert_eq!(value(0)[0], MicroOperation::ReadRegister { key: 1, value: None });
    assert_eq!(value(0)[1], MicroOperation::ReadList { key: 2, elements: None });
    assert_eq!(
        value(1)[0],
        MicroOperation::ReadRegister {
            key: 1,
            value: Some(None)
        }
    );
    assert_eq!(
        value(1)[1],
        MicroOperation::ReadList {
            key: 2,
            elements: Some(vec![])
        }
    );
}

#[test]
fn errors_name_the_line_and_the_field() {
    let good = r#"{"index":4,"type":"ok","process":7,"time":1,"f":"txn","value":[]}"#;
    for (bad, field) in [
        (
            r#"{"index":4,"type":"ok","process":7,"time":1,"f":"txn","value":[]}"#,
            "index",
        ),
        (r#"{"type":"done","process":7,"time":1,"f":"txn","value":[]}"#, "type"),
        (
            r#"{"type":"ok","process":"nemesis","time":1,"f":"txn","value":[]}"#,
            "process",
        ),
        (r#"{"type":"ok","process":7,"f":"txn","value":[]}"#, "time"),
        (
            r#"{"type":"ok","process":7,"time":1,"f":"txn","value":[["pop",1,2]]}"#,
            "value",
        ),
        (
            r#"{"type":"ok","process":7,"time":1,"f":"txn","value":[["r",1,null,"set"]]}"#,
            "value",
        ),
        (
            r#"{"type":"ok","process":7,"time":1,"f":"txn","value":[],"timestamp":3}"#,
            "timestamp",
        ),
        (
            r#"{"type":"ok","process":7,"time":1,"f":"txn","value":[],"id":"x"}"#,
            "id",
        ),
    ] {
        let text = format!("{good}\n{bad}\n");
        match History::read_json_lines(text.as_bytes()) {
            Err(ReadHistoryError::Field {
                line: 2, field: named, ..
            }) => assert_eq!(named, field),
            other => panic!("{bad}: {other:?}"),
        }
    }
    assert!(matches!(
        History::read_json_lines("[1]".as_bytes()),
        Err(ReadHistoryError::Json { line: 1, .. })
    ));
}

#[test]
fn a_file_name_of_no_known_ending_is_refused() {
    let refused = History::default()
        .write_to_file(Path::new("history.txt"))
        .expect_err("no such form");
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

fn any_step() -> impl Strategy<Value = MicroOperation> {
    let key = || prop_oneof![0..4_u64, any::<u64>()];
    prop_oneof![
        (key(), any::<u64>()).prop_map(|(key, element)| MicroOperation::Append { key, element }),
        (key(), any::<Option<Vec<u64>>>()).prop_map(|(key, elements)| MicroOperation::ReadList { key, elements }),
        (key(), any::<u64>()).prop_map(|(key, value)| MicroOperation::Write { key, value }),
        (key(), any::<Option<Option<u64>>>()).prop_map(|(key, value)| MicroOperation::ReadRegister { key, value }),
        (key(), any::<i64>()).prop_map(|(key, amount)| MicroOperation::Add { key, amount }),
        (key(), any::<Option<i64>>()).prop_map(|(key, value)| MicroOperation::ReadCounter { key, value }),
    ]
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let phase = prop::sample::select(vec![Phase::Invoke, Phase::Ok, Phase::Fail, Phase::Info]);
    let function = prop::sample::select(vec!["txn", "read", function::STRICT_READ, "odd \"name\""]);
    let timestamp = any::<Option<(u64, u32)>>().prop_map(|parts| {
        parts.map(|(hlc, node)| Timestamp {
            hlc: Hlc::from_bits(hlc),
            node: NodeId::new(node),
        })
    });
    (
        (any::<u64>(), 0..u64::MAX / 1000, phase, function),
        prop::collection::vec(any_step(), 0..5),
        any::<Option<u128>>(),
        timestamp,
        any::<Option<String>>(),
        0..9_usize,
    )
        .prop_map(
            |((process, time_us, phase, function), value, id, timestamp, error, region)| Entry {
                process,
                time_us,
                phase,
                function,
                value,
                id: id.map(TransactionId::from_u128),
                timestamp,
                error,
                region,
            },
        )
}

proptest! {
    #[test]
    fn json_gives_back_what_was_written(entries in prop::collection::vec(any_entry(), 0..8)) {
        let history = History { entries };
        let again = History::read_json_lines(written(&history, false).as_bytes()).expect("own form");
        prop_assert!(again.entries.iter().eq(&history.entries), "{again:?}");
    }
}
