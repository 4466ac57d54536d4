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

#[test]
fn preamble_epilogue_padding_and_empty_parts() {
    let body = b"preamble --xYz\r\n--xYz \t\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--xYz\r\n\
        Content-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--xYz--\r\nepilogue";
    assert_eq!(scan_multipart(TYPE, body).unwrap().model.unwrap().value, "m");
    assert_eq!(scan_multipart(TYPE, b"--xYz--").unwrap().model, None);
}

#[test]
fn a_missing_model_is_inserted_as_the_first_part() {
    let form = part("file", "x") + "--xYz--\r\n";
    for preamble in ["", "pre\r\n"] {
        let body = Bytes::from(format!("{preamble}{form}"));
        let scan = scan_multipart(TYPE, &body).unwrap();
        let sent = scan.rewrite(&body, &Edits { model: Some("m"), include_usage: false });
        assert_eq!(sent, format!("{preamble}{}{form}", part("model", "m")));
    }
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
    ] {
        assert_eq!(refused(content_type, b"--a--"), want, "{content_type}");
    }
    let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
    assert_eq!(refused(&long, b"x"), FormError::BadBoundary);
}

#[test]
fn bad_framing() {
    let good = part("model", "m");
    for (body, want) in [
        ("no boundary".to_owned(), FormError::NoPart),
        ("x--xYz\r\n".to_owned(), FormError::NoPart),
        (good.clone(), FormError::Unterminated { offset: 7 }),
        ("--xYz".to_owned(), FormError::Unterminated { offset: 5 }),
        ("--xYz-".to_owned(), FormError::Unterminated { offset: 5 }),
        (format!("{good}--xYz"), FormError::Unterminated { offset: good.len() + 5 }),
        ("--xYzz\r\n".to_owned(), FormError::BadDelimiter { offset: 5 }),
        ("--xYz\nContent-Disposition".to_owned(), FormError::BadDelimiter { offset: 5 }),
        (format!("{good}--xYz--\r\n{good}"), FormError::BehindTheEnd { offset: good.len() + 9 }),
        (format!("{good}{good}--xYz--"), FormError::Duplicate { key: "model", offset: good.len() + 7 }),
        (part("model", "") + "--xYz--", FormError::BadValue { key: "model", reason: "empty" }),
        (part("stream", "maybe") + "--xYz--", FormError::BadValue { key: "stream", reason: "neither true nor false" }),
        (
            format!("--xYz\r\nX: {}\r\n\r\n--xYz--", "a".repeat(MAX_PART_HEADERS)),
            FormError::HeadersTooLong { offset: 7 },
        ),
    ] {
        assert_eq!(refused(TYPE, body.as_bytes()), want, "{body:.80}");
    }
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
