use super::*;

fn error(text: &str) -> CompileError {
    Expression::compile(text).expect_err(text)
}

#[test]
fn expressions_see_the_request() {
    let headers: HeaderMap = [("x-team", "a"), ("x-team", "b"), ("authorization", "Bearer sk-1")]
        .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    let json = br#"{"messages":[{"role":"user","content":[{"type":"image_url"},{"text":"12345678"}]}],"tools":[{}],
        "metadata":{"tags":["x","y"],"env":"prod"},"user":"u"}"#;
    let model = "gpt-5".into();
    let facts = Facts::new(Asked {
        path: "/v1/chat/completions",
        operation: Operation::Chat,
        dialect: Dialect::OpenAiChat,
        headers: &headers,
        key: None,
        model: Some(&model),
        stream: true,
        json,
    });
    let holds = |text: &str| Expression::compile(text).unwrap().holds(&facts);
    for text in [
        "request.path.endsWith('/completions') && request.operation == 'chat' && request.dialect == \"openai-chat\"",
        "request.model.startsWith('gpt-') && request.stream && request.images && request.tools",
        "request.prompt_tokens == 2",
        "request.headers['x-team'] == 'a,b' && !('authorization' in request.headers)",
        "request.metadata.env == 'prod' && request.metadata['tags'].contains('y') && request.user == 'u'",
        "request.key.name == '' && size(request.key.tags) == 0 && request.session == ''",
        "has(request.metadata.env) && !has(request.metadata.other)",
        "request.headers.exists(name, name.startsWith('x-'))",
        "request.headers.filter(name, name == 'x-team').size() == 1",
        "request.headers.exists_one(name, name == 'x-team') && ['a', 'b'].all(x, request.headers['x-team'].contains(x))",
        "request.model in ['gpt-5', 'o3'] ? true : false",
    ] {
        assert_eq!(holds(text), Ok(true), "{text}");
    }
    assert_eq!(holds("request.stream == false"), Ok(false));
    for text in [
        "request.headers['x-missing'] == 'a'",
        "request.metadata.missing == 'a'",
        "int(request.model) > 3",
        "1 / 0 == 1",
    ] {
        assert_eq!(holds(text), Err(Failed), "{text}");
    }
}

#[test]
fn what_is_wrong_is_found_when_it_is_compiled() {
    let place = |error: &CompileError| (error.line, error.column);
    let syntax = error("request.stream &&\n  && true");
    assert_eq!(place(&syntax), (2, 3), "{syntax:?}");
    assert_eq!(syntax.offset("request.stream &&\n  && true"), Some(20));
    assert_eq!(error("").line, 1);

    let unknown = error("request.stream && request.modle == 'x'");
    assert_eq!(
        (unknown.message.as_str(), unknown.help.as_deref()),
        ("there is no field `modle`", Some("did you mean `model`?"))
    );
    assert_eq!(unknown.line, 1);
    assert!(unknown.column >= 19, "{unknown:?}");
    assert!(error("request.key.nam == 'x'").help.unwrap().contains("`name`"));
    assert!(error("model == 'x'").message.contains("no `model`"));
    assert!(error("request.model.matches('(a+)+$')").message.contains("no function `matches`"));
    assert!(error("request.model").message.contains("neither true nor false"));
    assert!(error("request.stream > 3").message.contains("overload"), "{:?}", error("request.stream > 3"));
    assert!(error("x{a: 1} == 1").message.contains("not supported"));
    assert!(error(&format!("'{}' == ''", "a".repeat(MAX_LEN))).message.contains("longer"));
}

#[test]
fn what_could_take_long_is_refused() {
    for (text, why) in [
        ("request.headers.exists(a, request.headers.exists(b, a == b))", "loop in a loop"),
        ("request.headers.map(a, [a, a]).size() == 1", "grow"),
        ("request.headers.exists(a, a + a == 'xx')", "grow"),
        ("request.headers.filter(a, [a] + [a] == []).size() == 1", "grow"),
    ] {
        let error = error(text);
        assert!(error.message.contains(why), "{text}: {error:?}");
    }
    let deep = format!("{}true{}", "(".repeat(900), ")".repeat(900));
    assert!(Expression::compile(&deep).is_err() || deep.len() <= MAX_LEN);
}

proptest::proptest! {
    #[test]
    fn any_text_is_compiled_or_refused(text in r#"(request|\.|model|headers|[a-z]|'|"|\(|\)|\[|\]|&&|\|\||!|==|in|,|[0-9]| |\n|é|\?|:|\{|\}){0,30}"#) {
        if let Err(error) = Expression::compile(&text) {
            proptest::prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}
