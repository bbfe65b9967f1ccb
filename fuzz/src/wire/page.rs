//! Answers of our own: whole responses, whatever is written into them.

use wire::http1::{
    ConnectionField, Fault, FieldSpace, Page, RefusalText, ResponseFraming, Writer, parse_response,
    write_refusal,
};

use super::LIMITS;

/// The first bytes choose what is answered, the others are an error page.
pub fn check(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first_chunk::<4>() else { return };
    let [status, retry, kind, connection] = choice.map(usize::from);
    let page = Page { content_type: "text/html; charset=utf-8", body };
    let refusal = RefusalText {
        status: 400 + u16::try_from(status % 200).unwrap_or(0),
        detail: Fault::ObsFold.reason(),
        retry_after: (retry > 0).then_some(u32::try_from(retry).unwrap_or(0)),
        connection: [ConnectionField::None, ConnectionField::Close, ConnectionField::KeepAlive]
            [connection % 3],
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        to_head_request: kind & 1 == 1,
        request_id: (kind & 2 == 2).then_some(b"id"),
        fields: b"",
        page: (kind & 4 == 4).then_some(page),
    };
    let mut room = vec![0; 512 + body.len()];
    let mut writer = Writer::new(&mut room);
    assert!(write_refusal(&mut writer, &refusal).is_ok(), "longer than it may be");
    let text = writer.written();
    let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { panic!("no head") };
    let (head, sent) = text.split_at(end + 4);
    let mut space = FieldSpace::new();
    let Ok(head) = parse_response(head, false, &LIMITS, &mut space) else { panic!("no response") };
    assert_eq!(head.status, refusal.status);
    assert_eq!(head.persistent, refusal.connection != ConnectionField::Close);
    let ResponseFraming::Length(length) = head.framing else { panic!("{:?}", head.framing) };
    if refusal.to_head_request {
        assert!(sent.is_empty());
    } else {
        assert_eq!(length, sent.len() as u64);
        assert!(refusal.page.is_none() || sent == body);
    }
}
