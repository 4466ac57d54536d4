//! The harness itself, without a gateway: what the raw clients send is what the stub records, in every framing.

use ai_gateway_tests::client::wire::Piece;
use ai_gateway_tests::client::{Connection, Framing, H1, H2, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Step, Stub, bodies};

#[tokio::test]
async fn every_framing_arrives_as_sent() {
    let stub = Stub::start(|request| Answer::json(200, request.body.clone())).await;
    for size in [0, 1, 65_536, 300_000] {
        let body = vec![b'x'; size];
        for framing in [Framing::Length, Framing::Chunked(1000), Framing::H2(1000)] {
            let mut connection = Connection::for_framing(stub.addr, framing).await;
            for _ in 0..2 {
                let reply = connection.exchange(&Request::post("/v1/x?y=z", body.clone()).framing(framing)).await;
                assert_eq!((reply.status, reply.complete), (200, true));
                assert_eq!(reply.body, body, "{framing:?} {size}");
                let request = stub.next().await;
                assert_eq!((request.target.as_str(), request.body.len()), ("/v1/x?y=z", size));
            }
        }
    }
    let reply = exchange(stub.addr, &Request::get("/")).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn chunks_pass_gates_and_cuts_are_seen() {
    let gate = Gate::new();
    let answer = Answer::sse(["one"]).step(Step::Wait(gate.clone())).step(Step::Send("two".into())).step(Step::Cut);
    let stub = Stub::always(answer).await;
    let mut client = H1::connect(stub.addr).await;
    client.send(&Request::post("/", "{}")).await;
    let mut response = client.respond().await;
    assert_eq!(response.piece().await, Piece::Data("one".into()));
    gate.open();
    assert_eq!(response.piece().await, Piece::Data("two".into()));
    assert_eq!(response.piece().await, Piece::Cut);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let stub = Stub::always(Answer::sse(["one"]).step(Step::Stall)).await;
    let mut client = H1::connect(stub.addr).await;
    client.send(&Request::post("/", "{}")).await;
    assert_eq!(client.respond().await.piece().await, Piece::Data("one".into()));
    drop(client);
    stub.departed().await;

    let stub = Stub::always(Answer::sse(["one"]).step(Step::Stall)).await;
    let mut client = H2::connect(stub.addr).await;
    let response = client.start(&Request::post("/", "{}").framing(Framing::H2(100))).await.unwrap();
    drop((client, response));
    stub.departed().await;
}

#[test]
fn bodies_have_the_size_asked_for() {
    for size in [200, 65_535, 65_536, 65_537] {
        let body = bodies::chat_of_size("m", size);
        assert_eq!(body.len(), size);
        let _: serde_json::Value = serde_json::from_slice(&body).unwrap();
    }
}
