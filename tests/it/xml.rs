//! XML APIs: reading their responses, and escaping every value sent to them.

use quick_xml::events::Event;
use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Seen, Upstream};

const ENVELOPE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">
  <soap:Body>
    <GetOrder xmlns="urn:orders" lang="{{default call.metadata.lang "en"}}">
      <Id>{{args.id}}</Id>
      {{#if args.note}}<Note by='{{args.note}}'>{{args.note}}</Note>{{/if}}
    </GetOrder>
  </soap:Body>
</soap:Envelope>
"#;

fn table(upstream: &Upstream) -> String {
    r#"
[server]
listen = "127.0.0.1:0"
[platforms.http]
[upstreams.soap]
base_url = "http://UPSTREAM"

[routes.get_order]
upstream = "soap"
args.id = { type = "string", required = true }
args.note = { type = "string" }
request = { method = "POST", path = "/orders", body_file = "order.xml.hbs", headers = { soapaction = "GetOrder" } }
extract.status = "$.Envelope.Body.GetOrderResponse.Order.Status"
extract.number = "$.Envelope.Body.GetOrderResponse.Order['@number']"
extract.items = { path = "$.Envelope.Body.GetOrderResponse..Name", all = true }
extract.carrier = { path = "$.Envelope.Body.GetOrderResponse.Order.Carrier", default = "nobody yet" }
[[routes.get_order.reply]]
when.status = 500
text = "{{response.body.Envelope.Body.Fault.faultstring}}"
[[routes.get_order.reply]]
when.missing = "$.Envelope.Body.GetOrderResponse.Order"
text = "There is no such order."
[[routes.get_order.reply]]
text = "Order {{number}} is {{status}}: {{join items \", \" last=\" and \"}}, by {{carrier}}."

[routes.feed]
upstream = "soap"
response.format = "xml"
request.path = "/feed"
extract.title = "$.rss.channel.title"
"#.replace("UPSTREAM", &upstream.address.to_string())
}

async fn proxy(upstream: &Upstream) -> Proxy {
    Proxy::with(&[("routes.toml", &table(upstream)), ("templates/order.xml.hbs", ENVELOPE)], &[]).await
}

fn soap(body: &str) -> Reply {
    let envelope =
        format!("<s:Envelope xmlns:s='soap'><s:Body xmlns:o='urn:orders'>{body}</s:Body></s:Envelope>");
    Reply::raw(200, "text/xml; charset=utf-8", envelope)
}

fn answer(seen: &Seen) -> Reply {
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    let has = |id: &str| body.contains(&format!("<Id>{id}</Id>"));
    let order = |inside: &str| {
        let order = "<o:Order number='A-7'><o:Status>sent</o:Status>";
        soap(&format!("<o:GetOrderResponse>{order}{inside}</o:Order></o:GetOrderResponse>"))
    };
    match seen.path() {
        "/feed" => {
            let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><rss><channel><title>\xd8l &amp; br\xf8d</title></channel></rss>";
            Reply::raw(200, "application/octet-stream", latin)
        }
        _ if has("one") => order("<Item><Name>tea</Name></Item><Carrier><![CDATA[Post & Co]]></Carrier>"),
        _ if has("two") => order("<Item><Name>tea</Name></Item><Item><Name>cups</Name></Item>"),
        _ if has("nil") => order("<Item><Name>tea</Name></Item><Carrier xsi:nil='true'/>"),
        _ if has("none") => soap("<o:GetOrderResponse/>"),
        _ if has("fault") => {
            let fault = soap("<s:Fault><faultstring>Closed for today</faultstring></s:Fault>");
            Reply { status: 500, ..fault }
        }
        _ if has("bomb") => Reply::raw(
            200,
            "text/xml",
            "<!DOCTYPE a [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]><Envelope>&b;</Envelope>",
        ),
        _ if has("deep") => Reply::raw(200, "text/xml", "<a>".repeat(100_000)),
        _ => soap(""),
    }
}

#[tokio::test]
async fn a_soap_api_can_be_called() {
    let upstream = Upstream::new(answer).await;
    let mut proxy = proxy(&upstream).await;
    for (id, expected) in [
        ("one", "Order A-7 is sent: tea, by Post & Co."),
        ("two", "Order A-7 is sent: tea and cups, by nobody yet."),
        ("nil", "Order A-7 is sent: tea, by nobody yet."),
        ("none", "There is no such order."),
        ("fault", "Closed for today"),
    ] {
        let reply = proxy.post("/http/get_order", &json!({"id": id})).await.json();
        assert_eq!(reply, json!({"text": expected}), "{id}:\n{}", proxy.log());
        let seen = upstream.one();
        assert_eq!(seen.header("content-type"), ["application/xml"]);
        assert_eq!(seen.header("soapaction"), ["GetOrder"]);
    }
    for id in ["bomb", "deep"] {
        let reply = proxy.post("/http/get_order", &json!({"id": id})).await.json();
        assert_eq!(reply["error"]["kind"], "bad_response", "{id}");
    }
    proxy.logged("but the body is not well-formed XML: an entity is not predefined in XML").await;
    let reply = proxy.post("/http/feed", &json!({})).await.json();
    assert_eq!(reply, json!({"data": {"title": "Øl & brød"}}));
}

/// The contents of a document as another XML parser reads it: each element with its attributes, and each text. White
/// space between elements is dropped.
fn pieces(xml: &[u8]) -> Vec<String> {
    let xml = std::str::from_utf8(xml).unwrap();
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut pieces = Vec::new();
    let mut text = String::new();
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{error}: {xml}")) {
            Event::Text(more) => text.push_str(&more),
            Event::GeneralRef(entity) => match entity.resolve_char_ref().unwrap() {
                Some(character) => text.push(character),
                None => text.push_str(quick_xml::escape::resolve_predefined_entity(&entity).unwrap()),
            },
            event => {
                let text = std::mem::take(&mut text);
                let between = text.starts_with('\n') && text.trim().is_empty();
                if !text.is_empty() && !between {
                    pieces.push(format!("text {text}"));
                }
                match event {
                    Event::Start(tag) => {
                        pieces.push(format!("begin {}", tag.name().0));
                        for attribute in tag.attributes() {
                            let attribute = attribute.unwrap();
                            let value = quick_xml::escape::unescape(&attribute.value).unwrap();
                            pieces.push(format!("attribute {}={value}", attribute.key.0));
                        }
                    }
                    Event::End(tag) => pieces.push(format!("end {}", tag.name().0)),
                    Event::Decl(_) => {}
                    Event::Eof => return pieces,
                    other => panic!("{other:?}: {xml}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn values_never_become_markup() {
    let upstream = Upstream::new(|_| soap("")).await;
    let mut proxy = proxy(&upstream).await;
    let long = "x<".repeat(20_000);
    let hostile = [
        "</Id><Id>2",
        "</Note></GetOrder>",
        "<evil/>",
        "<evil",
        "/>",
        ">",
        "' by2='x",
        "\" by2=\"x",
        "x' onload='alert(1)",
        "--><evil/><!--",
        "<!-- comment -->",
        "]]>",
        "<![CDATA[x]]>",
        "]]><evil/><![CDATA[",
        "<?php evil ?>",
        "?>",
        "<?xml version=\"1.0\"?>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>",
        "<!ENTITY x \"y\">",
        "&lt;evil/&gt;",
        "&x;",
        "&amp;",
        "&#60;evil/&#62;",
        "&",
        "%x;",
        "a\r\nb",
        "\r",
        "a\tb\nc",
        "{{env}}",
        "{{args.id}}",
        "${SECRET}",
        "xmlns:evil=\"x\"",
        "Ørsta \u{1f600} \u{202e}evil",
        "\u{85}\u{2028}",
        "\u{fffd}",
        "",
        " ",
        &long,
    ];
    let mut arrived = 0;
    for value in hostile {
        let args = json!({"id": value, "note": value});
        let reply = proxy.post("/http/get_order", &args).await.json();
        let mut expected = vec![
            "begin soap:Envelope".to_owned(),
            "attribute xmlns:soap=http://schemas.xmlsoap.org/soap/envelope/".to_owned(),
            "begin soap:Body".to_owned(),
            "begin GetOrder".to_owned(),
            "attribute xmlns=urn:orders".to_owned(),
            "attribute lang=en".to_owned(),
            "begin Id".to_owned(),
            format!("text {value}"),
            "end Id".to_owned(),
            "begin Note".to_owned(),
            format!("attribute by={value}"),
            format!("text {value}"),
            "end Note".to_owned(),
        ];
        if value.is_empty() {
            expected.retain(|piece| !piece.contains("Note") && !piece.contains("by=") && piece != "text ");
        }
        expected.extend(["end GetOrder", "end soap:Body", "end soap:Envelope"].map(str::to_owned));
        assert_eq!(pieces(&upstream.one().body), expected, "{value:?}: {reply}");
        arrived += 1;
    }
    assert!(arrived >= 25);

    for value in ["a\u{0}b", "\u{1}", "\u{b}", "\u{1f}", "\u{fffe}", "x\u{ffff}"] {
        let reply: Value = proxy.post("/http/get_order", &json!({"id": value})).await.json();
        assert_eq!(reply["error"]["kind"], "refused", "{value:?}");
        assert!(upstream.take().is_empty(), "{value:?}");
    }
    proxy.logged("a value contains a character that XML does not allow (U+0000)").await;
}
