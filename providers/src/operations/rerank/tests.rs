use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::usage::Usage;

const WIRES: [Wire; 5] = [Wire::Cohere, Wire::Jina, Wire::Voyage, Wire::Bedrock, Wire::BedrockCohere];

fn about() -> About<'static> {
    About { model: "public", request_id: "req1", now: 1, input_tokens: None }
}

fn asked(from: Wire, to: Wire, body: &Value) -> (Value, String, Asked) {
    let body = body.to_string();
    let target = crate::operations::tests::target();
    let Translated { body, losses, asked } =
        translate_request(from, to, body.as_bytes(), &target).unwrap_or_else(|error| panic!("{error}"));
    (serde_json::from_slice(&body).unwrap(), losses.header_value(), asked)
}

fn answer(from: Wire, to: Wire, asked: &Asked, body: &Value) -> (Value, Option<Usage>) {
    let answered = translate_answer(from, to, body.to_string().as_bytes(), asked, &about()).unwrap();
    (serde_json::from_slice(&answered.body).unwrap(), answered.usage)
}

#[test]
fn a_full_request_for_everyone() {
    let full = json!({"model": "x", "query": "q", "documents": ["a", {"text": "b"}, {"title": "t", "n": 1, "text": "c"}],
        "top_n": 2, "max_tokens_per_doc": 9, "priority": 3});
    let texts = json!(["a", "b", "title: t\ntext: c\nn: 1\n"]);
    let (body, losses, _) = asked(Wire::Cohere, Wire::Cohere, &full);
    assert_eq!(
        (body, losses.as_str()),
        (
            json!({"model": "upstream-model", "query": "q", "documents": texts, "top_n": 2, "max_tokens_per_doc": 9,
                "priority": 3}),
            ""
        )
    );
    let (body, losses, _) = asked(Wire::Cohere, Wire::Voyage, &full);
    assert_eq!(body, json!({"model": "upstream-model", "query": "q", "documents": texts, "top_k": 2}));
    assert_eq!(losses, "priority,max_tokens_per_doc");
    let (body, losses, _) = asked(Wire::Cohere, Wire::BedrockCohere, &full);
    assert_eq!(body, json!({"api_version": 2, "query": "q", "documents": texts, "top_n": 2}));
    assert_eq!(losses, "priority,max_tokens_per_doc");
    let (body, losses, _) = asked(Wire::Cohere, Wire::Jina, &full);
    assert_eq!(
        body,
        json!({"model": "upstream-model", "query": "q", "documents": texts, "top_n": 2,
            "return_documents": false})
    );
    assert_eq!(losses, "priority,max_tokens_per_doc");
    let (body, _, _) = asked(Wire::Cohere, Wire::Bedrock, &full);
    assert_eq!(body, json!({"query": "q", "documents": texts, "top_n": 2}));
    let voyage = json!({"model": "x", "query": "q", "documents": ["a", {"title": "t", "text": "c"}], "top_k": 1,
        "truncation": false, "return_documents": true});
    let (body, losses, _) = asked(Wire::Voyage, Wire::Cohere, &voyage);
    let texts = json!(["a", "title: t\ntext: c\n"]);
    assert_eq!(body, json!({"model": "upstream-model", "query": "q", "documents": texts, "top_n": 1}));
    assert_eq!(losses, "truncation");
    let mut own = asked(Wire::Voyage, Wire::Voyage, &voyage).0;
    own["model"] = json!("x");
    own["documents"][1] = voyage["documents"][1].clone();
    assert_eq!(own, voyage);
}

#[test]
fn documents_come_back_where_they_are_wanted() {
    let body = json!({"model": "x", "query": "q", "documents": ["a", {"text": "b", "n": 1}], "return_documents": true});
    let ranked = json!({"id": "r1", "results": [{"index": 1, "relevance_score": 0.90}, {"index": 0, "relevance_score": 0.1}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}});
    let (_, _, kept) = asked(Wire::Jina, Wire::Cohere, &body);
    let (written, usage) = answer(Wire::Cohere, Wire::Jina, &kept, &ranked);
    assert_eq!(usage, Some(Usage { search_units: Some(1), ..Usage::default() }));
    assert_eq!(
        written,
        json!({"id": "r1", "model": "public", "usage": {"total_tokens": 0},
            "results": [{"index": 1, "relevance_score": 0.9, "document": {"text": "b", "n": 1}},
                {"index": 0, "relevance_score": 0.1, "document": {"text": "a"}}],
            "meta": {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}}})
    );
    let (_, _, kept) = asked(Wire::Voyage, Wire::Jina, &body);
    let jina = json!({"model": "u", "usage": {"total_tokens": 7}, "results": [{"index": 0, "relevance_score": 1e-2}]});
    let (written, usage) = answer(Wire::Jina, Wire::Voyage, &kept, &jina);
    assert_eq!(usage.unwrap().total_input(), Some(7));
    assert_eq!(
        written,
        json!({"object": "list", "model": "public", "usage": {"total_tokens": 7},
            "data": [{"index": 0, "relevance_score": 1e-2, "document": "a"}]})
    );
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let target = crate::operations::tests::target();
    for body in [
        json!({"query": "q"}),
        json!({"documents": ["secret"]}),
        json!({"query": "q", "documents": []}),
        json!({"query": "q", "documents": [1]}),
        json!({"query": {"image": "secret"}, "documents": ["a"]}),
    ] {
        let error = translate_request(Wire::Jina, Wire::Cohere, body.to_string().as_bytes(), &target).unwrap_err();
        assert_eq!(error.status, 400, "{body}");
        assert!(!error.message.contains("secret"));
    }
    for body in
        [json!({}), json!({"results": [{"index": 0}]}), json!({"results": [{"index": 0, "relevance_score": "x"}]})]
    {
        let body = body.to_string();
        let error = translate_answer(Wire::Cohere, Wire::Jina, body.as_bytes(), &Asked::default(), &about());
        assert_eq!(error.unwrap_err().status, 502, "{body}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(
        from in proptest::sample::select(&WIRES[..]),
        to in proptest::sample::select(&WIRES[..]),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            r#"\{"query":"q","(documents|results|data)":\[("a"|\{"(text|index|relevance_score)":("1"|-1|1e9|null)\}|,){0,3}\]\}"#
                .prop_map(String::into_bytes),
        ],
    ) {
        let target = crate::operations::tests::target();
        if let Ok(translated) = translate_request(from, to, &body, &target) {
            serde_json::from_slice::<Value>(&translated.body).unwrap();
        }
        if let Ok(answered) = translate_answer(from, to, &body, &Asked::default(), &about()) {
            serde_json::from_slice::<Value>(&answered.body).unwrap();
        }
    }
}
