//! A bank over real gRPC: two accounts with one hash tag, and transfers by transactions that compare what they read. However
//! many tellers work at once, through whichever node, no coin is lost and none is made.

use bytes::Bytes;
use flotilla_proto::limits::TXN_OPERATIONS_MAX;
use flotilla_proto::v1::compare::Condition;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::v1::txn_operation::Operation;
use flotilla_proto::v1::txn_operation_result::Result as Kind;
use flotilla_proto::{status, v1};
use tonic::Code;
use tonic::transport::Channel;

use crate::fleet::Fleet;

const ACCOUNTS: [&str; 2] = ["{bank}ann", "{bank}bob"];
const COINS: u64 = 100;
const TELLERS: usize = 6;
const TRANSFERS_PER_TELLER: usize = 15;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn get(key: &str) -> v1::TxnOperation {
    v1::TxnOperation { operation: Some(Operation::Get(v1::TxnGet { key: bytes(key) })) }
}

fn put(key: &str, value: &str) -> v1::TxnOperation {
    let put = v1::TxnPut { key: bytes(key), value: bytes(value), ttl_ms: None };
    v1::TxnOperation { operation: Some(Operation::Put(put)) }
}

fn when(key: &str, condition: Condition) -> v1::Compare {
    v1::Compare { key: bytes(key), condition: Some(condition) }
}

fn then(operations: impl Into<Vec<v1::TxnOperation>>) -> v1::TxnRequest {
    v1::TxnRequest { then: operations.into(), ..v1::TxnRequest::default() }
}

async fn txn(node: &mut KvClient<Channel>, request: v1::TxnRequest) -> v1::TxnResult {
    match node.txn(request).await.unwrap().into_inner().outcome {
        Some(v1::txn_response::Outcome::Result(result)) => result,
        other => panic!("a proxy answered {other:?}"),
    }
}

/// The balances and their versions, as a list of gets returned them.
fn balances(result: &v1::TxnResult) -> Vec<(u64, u64)> {
    let balance = |result: &v1::TxnOperationResult| match &result.result {
        Some(Kind::Get(v1::TxnGetResult { record: Some(record) })) => {
            (std::str::from_utf8(&record.value).unwrap().parse().unwrap(), record.version)
        }
        other => panic!("expected a balance, got {other:?}"),
    };
    result.results.iter().map(balance).collect()
}

/// Moves one coin this way or that, as often as it must. How many attempts met the work of another teller.
async fn work(mut node: KvClient<Channel>, teller: usize) -> u64 {
    let mut lost = 0;
    for transfer in 0..TRANSFERS_PER_TELLER {
        let mut read = balances(&txn(&mut node, then(ACCOUNTS.map(get))).await);
        loop {
            let wanted = (teller + transfer) % 2;
            let from = if read[wanted].0 > 0 { wanted } else { 1 - wanted };
            let to = 1 - from;
            let compares = [
                when(ACCOUNTS[from], Condition::Version(read[from].1)),
                when(ACCOUNTS[to], Condition::Value(read[to].0.to_string().into())),
            ];
            let request = v1::TxnRequest {
                compares: compares.into(),
                then: vec![
                    put(ACCOUNTS[from], &(read[from].0 - 1).to_string()),
                    put(ACCOUNTS[to], &(read[to].0 + 1).to_string()),
                ],
                otherwise: ACCOUNTS.map(get).into(),
                ..v1::TxnRequest::default()
            };
            let result = txn(&mut node, request).await;
            if result.succeeded {
                break;
            }
            read = balances(&result);
            assert_eq!(read[0].0 + read[1].0, COINS, "seen in the middle of the work");
            lost += 1;
        }
    }
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn no_coin_is_lost_and_none_is_made() {
    let fleet = Fleet::found().await;
    let mut node = fleet.kv(0).await;
    let open = v1::TxnRequest {
        compares: ACCOUNTS.map(|account| when(account, Condition::Exists(false))).into(),
        ..then([put(ACCOUNTS[0], &COINS.to_string()), put(ACCOUNTS[1], "0")])
    };
    let opened = txn(&mut node, open.clone()).await;
    assert!(opened.succeeded);
    assert!(!txn(&mut node, open).await.succeeded, "they exist now");
    let mut tellers = Vec::new();
    for teller in 0..TELLERS {
        tellers.push(tokio::spawn(work(fleet.kv(teller % 3).await, teller)));
    }
    let mut lost = 0;
    for teller in tellers {
        lost += teller.await.unwrap();
    }
    assert!(lost > 0, "the tellers never met: nothing was tested");
    for number in 0..3 {
        let read = balances(&txn(&mut fleet.kv(number).await, then(ACCOUNTS.map(get))).await);
        assert_eq!(read[0].0 + read[1].0, COINS, "{read:?} through node {}", number + 1);
        assert_eq!(read[0].1, read[1].1, "the last transfer wrote both under one version");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_sent_twice_is_one_and_a_wrong_one_is_named() {
    let fleet = Fleet::found().await;
    let mut node = fleet.kv(0).await;
    let first = txn(&mut node, then([put("{t}k", "v"), get("{t}k"), get("{t}none")])).await;
    let stamp = first.stamp.unwrap();
    let written = Some(Kind::Put(v1::TxnPutResult { version: stamp.version }));
    assert_eq!(first.results[0].result, written);
    assert_eq!(first.results[2].result, Some(Kind::Get(v1::TxnGetResult { record: None })));

    let request = v1::RequestId {
        client: Some(78.into()),
        sequence: 1,
        acknowledged: 0,
        deadline_ms: stamp.shard_time_ms + 30_000,
    };
    let once = v1::TxnRequest {
        request: Some(request),
        compares: vec![when("{t}once", Condition::Exists(false))],
        ..then([put("{t}once", "only"), get("{t}once")])
    };
    let mut results = Vec::new();
    for number in [0, 1, 2, 0] {
        let result = txn(&mut fleet.kv(number).await, once.clone()).await;
        assert!(result.succeeded, "a second execution would fail its compare");
        results.push((result.stamp.unwrap().version, result.results));
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");

    let wrong = [
        (then([]), "then"),
        (then([get("a"), get("foo")]), "then[1].get.key"),
        (then(vec![get("a"); TXN_OPERATIONS_MAX + 1]), "then"),
        (
            v1::TxnRequest { compares: vec![v1::Compare { key: bytes("a"), condition: None }], ..then([]) },
            "compares[0]",
        ),
        (then([v1::TxnOperation::default()]), "then[0]"),
        (then(vec![put("a", &"v".repeat(1 << 20)); 4]), "then"),
    ];
    for (request, field) in wrong {
        let refusal = node.txn(request).await.unwrap_err();
        let detail = status::detail(&refusal).unwrap();
        assert_eq!(
            (refusal.code(), detail.field.as_str(), detail.definite),
            (Code::InvalidArgument, field, true)
        );
    }
    let refusal =
        node.put(v1::PutRequest { key: bytes("k"), ttl_ms: Some(0), ..v1::PutRequest::default() }).await;
    let refusal = refusal.unwrap_err();
    assert_eq!(
        (refusal.code(), status::detail(&refusal).unwrap().field.as_str()),
        (Code::InvalidArgument, "ttl_ms")
    );
    fleet.stop().await;
}
