use bytes::Bytes;

use super::super::Edits;
use super::*;

const TYPE: &str = "multipart/form-data; boundary=xYz";

fn refused(content_type: &str, body: &[u8]) -> FormError {
    match scan_multipart(content_type, body).unwrap_err() {
        ScanError::Form(error) => error,
        other => panic!("{other:?}"),
    }
}

fn part(name: &str, value: &str) -> String {
    format!("--xYz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

#[test]
fn a_form_as_sdks_send_it() {
    let mut body = part("model", "whisper-1").into_bytes();
    body.extend(part("stream", "true").bytes());
    body.extend(part("response_format", "srt").bytes());
    body.extend(b"--xYz\r\ncontent-type: audio/wav\r\nCONTENT-DISPOSITION: form-data; name=file; filename=\"a\\\"b.wav\"\r\n\r\n");
    body.extend(b"\x00\xff\r\n--xY\r\n\r\n--\r\n--xYz--\r\n");
    let body = Bytes::from(body);
    let scan = scan_multipart(TYPE, &body).unwrap();
    let model = scan.model.clone().unwrap();
    assert_eq!((model.value.as_str(), &body[model.span.clone()]), ("whisper-1", b"whisper-1".as_slice()));
    assert!(scan.stream && !scan.hide_usage());
    assert_eq!(scan.response_format.as_deref(), Some("srt"));

    let sent = scan.rewrite(&body, &Edits { model: Some("w\"2"), include_usage: true });
    let want = [&body[..model.span.start], b"w\"2", &body[model.span.end..]].concat();
    assert_eq!(sent, want);
}

/// As curl, the official clients of OpenAI, requests, undici, Go, .NET, OkHttp and Apache's client for Java write them.
#[test]
fn forms_of_usual_clients() {
    let file =
        "Content-Disposition: form-data; name=\"file\"; filename=\"\u{e9} %22q%22.wav\"\r\nContent-Type: audio/wav";
    let quoted =
        "Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"q\\\".wav\"\r\nContent-Type: audio/wav";
    let plain = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
    let dot_net =
        |name: &str| format!("Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name={name}");
    let dot_net_file = "Content-Type: audio/wav\r\n\
        Content-Disposition: form-data; name=file; filename=\"=?utf-8?B?w6kud2F2?=\"; filename*=utf-8''%C3%A9.wav";
    let ok_http = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"\r\nContent-Length: 9");
    let apache = |name: &str| {
        format!(
            "Content-Disposition: form-data; name=\"{name}\"\r\nContent-Type: text/plain; charset=ISO-8859-1\r\n\
             Content-Transfer-Encoding: 8bit"
        )
    };
    let apache_file = format!("{file}\r\nContent-Transfer-Encoding: binary");
    let forms = [
        ("------------------------96dabbbb4e8a7cdb", plain("model"), plain("prompt"), file),
        ("------------------------8be8386ccb29258a", plain("model"), plain("prompt"), quoted),
        ("dfda922a4388699f1f0176b3bccf5c13", plain("model"), plain("prompt"), file),
        ("----formdata-undici-010956167378", plain("model"), plain("prompt"), file),
        ("5a9b5a1a0a3e4f4c8f8f1f2f3f4f5f6f7f8f9f0f1a2b3c4d5e6f708192a3", plain("model"), plain("prompt"), file),
        ("f9e6c1a0-3c4e-4e5a-9a36-0a1b2c3d4e5f", dot_net("model"), dot_net("prompt"), dot_net_file),
        ("3b1d0a52-8f0e-4d38-b6b7-2a3f0f8d1c11", ok_http("model"), ok_http("prompt"), file),
        ("Q3mJr9_-Zk2x7", apache("model"), apache("prompt"), &apache_file),
        ("===============7330845974216740156==", plain("model"), plain("prompt"), file),
    ];
    for (boundary, model, prompt, file) in forms {
        let body = format!(
            "--{boundary}\r\n{model}\r\n\r\nwhisper-1\r\n--{boundary}\r\n{prompt}\r\n\r\na\r\nb\r\n\
             --{boundary}\r\n{file}\r\n\r\nRIFF\r\n--x\r\n--{boundary}--\r\n"
        );
        for content_type in [
            format!("multipart/form-data; boundary={boundary}"),
            format!("multipart/form-data; boundary=\"{boundary}\""),
            format!("multipart/form-data;boundary={boundary}"),
            format!("multipart/form-data; charset=utf-8; boundary={boundary}"),
        ] {
            let scan = scan_multipart(&content_type, body.as_bytes()).unwrap_or_else(|e| panic!("{content_type}: {e}"));
            assert_eq!((scan.model.unwrap().value.as_str(), &*scan.prompts[0].value), ("whisper-1", "a\r\nb"));
            assert_eq!(scan.files, 1);
        }
    }
}

#[test]
fn epilogue_empty_parts_and_a_line_end_before_the_form() {
    let body = b"--xYz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--xYz\r\n\
        Content-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--xYz--\r\nepilogue --xYz";
    assert_eq!(scan_multipart(TYPE, body).unwrap().model.unwrap().value, "m");
    assert_eq!(scan_multipart(TYPE, &[b"\r\n", &body[..]].concat()).unwrap().model.unwrap().value, "m");
    assert_eq!(scan_multipart(TYPE, b"--xYz--").unwrap().model, None);
    assert_eq!(scan_multipart(TYPE, b"--xYz--\n").unwrap().model, None);
}

#[test]
fn a_missing_model_is_inserted_as_the_first_part() {
    let form = part("file", "x") + "--xYz--\r\n";
    for before in ["", "\r\n"] {
        let body = Bytes::from(format!("{before}{form}"));
        let scan = scan_multipart(TYPE, &body).unwrap();
        let sent = scan.rewrite(&body, &Edits { model: Some("m"), include_usage: false });
        assert_eq!(sent, format!("{before}{}{form}", part("model", "m")));
    }
}

/// The provider gets a `content-type` of its own, which has one reading.
#[test]
fn the_content_type_to_send() {
    for (sent, written) in [
        ("xYz", "xYz"),
        ("\"xYz\"; charset=utf-8", "xYz"),
        ("----a'+_.b", "----a'+_.b"),
        ("a/b:c=d", "\"a/b:c=d\""),
        ("\"a b\"", "\"a b\""),
    ] {
        let boundary = written.trim_matches('"');
        let body = format!("--{boundary}--");
        let scan = scan_multipart(&format!("Multipart/Form-Data;x=y ; Boundary={sent}"), body.as_bytes()).unwrap();
        assert_eq!(scan.content_type(), format!("multipart/form-data; boundary={written}"));
        assert!(scan_multipart(&scan.content_type(), body.as_bytes()).is_ok());
    }
    assert_eq!(super::super::scan_json(b"{}").unwrap().content_type(), "application/json");
}

#[test]
fn boundaries() {
    let body = b"--a b'()+_,-./:=?\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--a b'()+_,-./:=?--";
    assert!(scan_multipart("Multipart/Form-Data;Charset=utf-8; BOUNDARY=\"a b'()+_,-./:=?\"; ", body).is_ok());
    for (content_type, want) in [
        ("", FormError::NotMultipart),
        ("application/json", FormError::NotMultipart),
        ("multipart/mixed; boundary=a", FormError::NotMultipart),
        ("multipart/form-data", FormError::NoBoundary),
        ("multipart/form-data; charset=utf-8", FormError::NoBoundary),
        ("multipart/form-data; boundary=", FormError::BadBoundary),
        ("multipart/form-data; boundary=\"\"", FormError::BadBoundary),
        ("multipart/form-data; boundary=\"a ", FormError::NotMultipart),
        ("multipart/form-data; boundary=\"a \"", FormError::BadBoundary),
        ("multipart/form-data; boundary=a; boundary=b", FormError::BadBoundary),
        ("multipart/form-data; boundary=é", FormError::BadBoundary),
        // Some readers drop the backslash, others do not.
        ("multipart/form-data; boundary=\"a\\b\"", FormError::BadBoundary),
        ("multipart/form-data; boundary=\"a\\\\b\"", FormError::BadBoundary),
        ("multipart/form-data; boundary=\"\\a\"", FormError::BadBoundary),
        ("multipart/form-data; boundary=a\\", FormError::BadBoundary),
        // RFC 2231: some readers take the one with the star, others the one without.
        ("multipart/form-data; boundary=a; boundary*=utf-8''b", FormError::BadBoundary),
        ("multipart/form-data; boundary=a; Boundary*0=b", FormError::BadBoundary),
        ("multipart/form-data; boundary*0*=b; boundary=a", FormError::BadBoundary),
        ("multipart/form-data; boundary=a; x*=b", FormError::BadBoundary),
        ("multipart/form-data; boundary=a, multipart/form-data; boundary=b", FormError::BadBoundary),
        ("multipart/form-data; x=\"; boundary=a", FormError::NotMultipart),
        ("multipart/form-data; x=y\"; boundary=b; z=\"; boundary=a", FormError::NotMultipart),
    ] {
        assert_eq!(refused(content_type, b"--a--"), want, "{content_type}");
    }
    let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
    assert_eq!(refused(&long, b"x"), FormError::BadBoundary);
}

#[test]
fn bad_framing() {
    let good = part("model", "m");
    let long = format!("--xYz\r\nX: {}\r\n\r\n--xYz--", "a".repeat(MAX_PART_HEADERS));
    for (body, want) in [
        ("no boundary".to_owned(), FormError::NoPart),
        ("x--xYz\r\n".to_owned(), FormError::NoPart),
        (good.clone(), FormError::Unterminated { offset: 7 }),
        ("--xYz".to_owned(), FormError::Unterminated { offset: 5 }),
        ("--xYz-".to_owned(), FormError::Unterminated { offset: 5 }),
        (format!("{good}--xYz"), FormError::Unterminated { offset: good.len() + 5 }),
        ("--xYzz\r\n".to_owned(), FormError::BadDelimiter { offset: 0 }),
        ("--xYz\nContent-Disposition".to_owned(), FormError::BadDelimiter { offset: 0 }),
        (format!("{good}--xYz--\r\n{good}"), FormError::BehindTheEnd { offset: good.len() + 9 }),
        (format!("{good}--xYz--\n{good}"), FormError::BehindTheEnd { offset: good.len() + 8 }),
        (format!("{good}{good}--xYz--"), FormError::Duplicate { key: "model", offset: good.len() + 7 }),
        (part("model", "") + "--xYz--", FormError::BadValue { key: "model", reason: "empty" }),
        (part("stream", "maybe") + "--xYz--", FormError::BadValue { key: "stream", reason: "neither true nor false" }),
        (long, FormError::HeadersTooLong { offset: 7 }),
    ] {
        assert_eq!(refused(TYPE, body.as_bytes()), want, "{body:.80}");
    }
}

/// What one reader takes for a boundary and another for the content of a part, or for nothing.
#[test]
fn boundaries_that_not_all_readers_see() {
    let (shown, hidden) = (part("model", "m") + "--xYz--\r\n", part("prompt", "secret"));
    for before in ["\n", "\r", "\n\n", "\r\n\r\n", " ", "preamble\r\n", "--xY\r\n", "\u{feff}"] {
        assert_eq!(refused(TYPE, format!("{before}{hidden}{shown}").as_bytes()), FormError::NoPart, "{before:?}");
    }
    let lone = |text: &str| text.replace("\r\n", "\n");
    for body in [
        part("x", "y").trim_end().to_owned() + "\n" + &hidden + &shown,
        part("x", "y").trim_end().to_owned() + "\r" + &hidden + &shown,
        part("x", &format!("y\n{}", lone(&hidden))) + &shown,
        part("x", "").trim_end().to_owned() + "\r\n\r\n" + &hidden + &shown,
        part("x", "\n--xYz--").clone() + &shown,
        part("x", "y") + &hidden.replacen("\r\n", " \r\n", 1) + &shown,
        part("x", "y") + &hidden.replacen("\r\n", "\t\r\n", 1) + &shown,
        part("x", "y") + "--xYz-- \r\nz",
        part("x", "y") + "--xYz--z\r\n" + &hidden + &shown,
    ] {
        let refused = refused(TYPE, body.as_bytes());
        assert!(matches!(refused, FormError::BadDelimiter { .. }), "{refused:?}: {body:?}");
    }
    // Among the headers of a part.
    let body = "--a:\r\n--a:\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n--a:--";
    let refused = refused("multipart/form-data; boundary=\"a:\"", body.as_bytes());
    assert_eq!(refused, FormError::BadDelimiter { offset: 6 });
}

/// A text that a reader decodes is another one than the gateway sees.
#[test]
fn encoded_parts() {
    let body = |headers: &str, name: &str| {
        format!("--xYz\r\n{headers}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nfalse\r\n--xYz--")
    };
    for encoding in ["quoted-printable", "base64", "Base64", "x-uuencode", "", "7bit, base64"] {
        for name in ["prompt", "file"] {
            let body = body(&format!("content-Transfer-Encoding: {encoding}"), name);
            assert_eq!(refused(TYPE, body.as_bytes()), FormError::Encoded { offset: 7 }, "{encoding}");
        }
    }
    for encoding in ["7bit", "8BIT", "binary "] {
        let body = body(&format!("Content-Transfer-Encoding: {encoding}"), "prompt");
        assert!(scan_multipart(TYPE, body.as_bytes()).is_ok(), "{encoding}");
    }
    for charset in ["utf-16", "UTF-7", "\"ibm037\"", "utf-8; charset=utf-16le", "\"utf-8", "", "utf-8; charset*=utf-7"]
    {
        let headers = format!("Content-Type: text/plain; charset={charset}");
        for name in ["model", "stream", "response_format", "prompt"] {
            let body = body(&headers, name);
            assert_eq!(refused(TYPE, body.as_bytes()), FormError::Charset { offset: 7 }, "{charset}");
        }
        let file = body(&headers, "file");
        assert!(scan_multipart(TYPE, file.as_bytes()).is_ok(), "{charset}");
    }
    let twice = body("Content-Type: text/plain\r\nContent-Type: text/plain; charset=utf-16", "prompt");
    assert_eq!(refused(TYPE, twice.as_bytes()), FormError::Charset { offset: 7 });
    let mut default = part("_charset_", "utf-16") + "--xYz--";
    assert_eq!(refused(TYPE, default.as_bytes()), FormError::Charset { offset: 7 });
    default = default.replace("utf-16", "UTF-8");
    assert!(scan_multipart(TYPE, default.as_bytes()).is_ok());
}

#[test]
fn bad_part_headers() {
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Disposition: form-data\r\n",
        "Content-Disposition: form-data; filename=\"a\"\r\n",
        "Content-Disposition: attachment; name=\"a\"\r\n",
        "Content-Disposition: form-data; name=\"a\"; name=\"model\"\r\n",
        "Content-Disposition: form-data; name=\"a\"; name*=utf-8''model\r\n",
        "Content-Disposition: form-data; name=\"a\r\n",
        "Content-Disposition: form-data; name=\"a\"x\r\n",
        "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"model\"\r\n",
        "Content-Disposition: form-data;\r\n name=\"model\"\r\n",
        "Content-Disposition : form-data; name=\"model\"\r\n",
        "Content-Disposition: form-data; name=\"a\nb\"\r\n",
        "Content-Disposition: form-data; name=\"x\"; Name*=utf-8''model\r\n",
        "Content-Disposition: form-data; name=\"x\"; NAME*0=model\r\n",
        "Content-Disposition: form-data; name=\"x\"; other*=model\r\n",
        "Content-Disposition: form-data; name=\"mod\\el\"\r\n",
        "Content-Disposition: form-data; name=\"mod\\\\el\"\r\n",
        "Content-Disposition: form-data; name=\"mod\\\"el\"\r\n",
        "Content-Disposition: form-data; name=\"x\"; name\u{b}=model\r\n",
        "Content-Disposition: form-data; name=\"x\"; name\u{a0}=model\r\n",
        "Content-Disposition: form-data; name=\"model\u{0}x\"\r\n",
        "Content-Disposition: form-data; name=mo\"del\r\n",
        "Content-Disposition: form-data; name=x; filename=a\"; name=model; y=\"b\r\n",
        "Content-Disposition: form-data; filename=a\"; name=x; y=\"b\r\n",
        "Content-Disposition\u{b}: form-data; name=\"model\"\r\nContent-Disposition: form-data; name=\"x\"\r\n",
        "Content-Disposition\u{a0}: form-data; name=\"model\"\r\nContent-Disposition: form-data; name=\"x\"\r\n",
        "no colon\r\n",
    ] {
        let body = format!("--xYz\r\n{headers}\r\nvalue\r\n--xYz--\r\n");
        assert_eq!(refused(TYPE, body.as_bytes()), FormError::BadHeaders { offset: 7 }, "{headers}");
    }
}

#[test]
fn prompts_are_found_and_replaced() {
    let part =
        |name: &str, value: &str| format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let form = |first: &str, second: &str| {
        [part("prompt", first), part("model", "m"), part("prompt", second), "--b--\r\n".into()].concat()
    };
    let body = form("a cat", "a dog");
    let scan = scan_multipart("multipart/form-data; boundary=b", body.as_bytes()).unwrap();
    let values: Vec<&str> = scan.prompts.iter().map(|prompt| &*prompt.value).collect();
    assert_eq!(values, ["a cat", "a dog"]);
    let changed = with_prompts(&scan, body.as_bytes(), &["a big cat".to_owned(), "a dog".to_owned()]);
    assert_eq!(String::from_utf8(changed).unwrap(), form("a big cat", "a dog"));
}

/// For some readers `Model` is the field `model`, and spaces around a name do not count.
#[test]
fn misspelt_fields() {
    for (name, key) in [
        ("\"Model\"", "model"),
        ("MODEL", "model"),
        ("model\u{a0}", "model"),
        ("\" model\"", "model"),
        ("\"model\u{2003}\"", "model"),
        ("\"Prompt\"", "prompt"),
        ("\"STREAM\"", "stream"),
        ("\"response _format\"", "response_format"),
        ("_Charset_", "_charset_"),
    ] {
        let body = format!("--xYz\r\nContent-Disposition: form-data; name={name}\r\n\r\nutf-8\r\n--xYz--\r\n");
        assert_eq!(refused(TYPE, body.as_bytes()), FormError::Misspelt { key, offset: 7 }, "{name}");
    }
    let form = part("models", "a") + &part("prompt[]", "b") + &part("x-model", "c") + "--xYz--";
    assert!(scan_multipart(TYPE, form.as_bytes()).unwrap().model.is_none());
}
