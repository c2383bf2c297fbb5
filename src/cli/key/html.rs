//! A recovery sheet as a page for the printer: one file, nothing from elsewhere, black on white, with a QR code.

use qrcodegen_no_heap::{QrCode, QrCodeEcc, Version};
use zeroize::Zeroizing;

use super::sheet::Sheet;
use crate::error::{Error, Result};
use crate::repository::recovery;

/// The largest code that the text may need; every camera still reads it from paper.
const LARGEST: Version = Version::new(20);
/// White modules around a code, as its standard asks for.
const QUIET: i32 = 4;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>Strongroom recovery sheet</title>
<style>
@page { margin: 15mm }
:root { color-scheme: light }
body { color: #000; background: #fff; font: 10.5pt/1.35 serif; max-width: 175mm; margin: 0 auto }
h1 { font-size: 17pt; margin: 0 0 2mm }
h2 { font-size: 12pt; margin: 4mm 0 1mm }
p, ul { margin: 0 0 2mm }
ul { padding-left: 5mm }
table { border-collapse: collapse }
th { text-align: left; font-weight: normal; padding: 0 5mm 0 0; vertical-align: top }
td, code, pre { font-family: monospace; overflow-wrap: anywhere }
td { font-size: 9pt }
pre { margin: 0 0 2mm; white-space: pre-wrap }
#key { border: 0.5mm solid #000; padding: 3mm; display: flex; flex-wrap: wrap; gap: 5mm;
  align-items: center; justify-content: space-between; break-inside: avoid }
#key pre { font-size: 14pt; line-height: 1.7; margin: 0; font-weight: bold }
#key svg { width: 58mm; height: 58mm }
</style>
</head>
<body>
<h1>Strongroom recovery sheet</h1>
<p><strong>Whoever has this sheet reads every backup in the repository.</strong></p>
<table>
"#;

/// The page. `room` is more than it takes, so that it is not moved while it grows.
pub(super) fn page(sheet: &Sheet<'_>, room: usize) -> Result<Zeroizing<String>> {
    let key = recovery::text(sheet.secret);
    let mut page = Zeroizing::new(String::with_capacity(room));
    page.push_str(HEAD);
    for (name, value) in sheet.facts() {
        page.extend(["<tr><th>", name, "</th><td>", &escaped(&value), "</td></tr>\n"]);
    }
    page.push_str("</table>\n<h2>The key</h2>\n<div id=\"key\">\n<pre>");
    page.push_str(key.trim_end());
    page.push_str("</pre>\n");
    draw(&key, &mut page)?;
    let ([before, asks, file], mind) = Sheet::words();
    page.extend(["</div>\n<h2>To get everything back</h2>\n<p>", before, "</p>\n<pre>"]);
    page.extend([escaped(&sheet.command()).as_str(), "</pre>\n"]);
    for paragraph in [asks, file, "The QR code holds the same text as the box, and nothing else."] {
        page.extend(["<p>", &coded(&escaped(paragraph)), "</p>\n"]);
    }
    page.push_str("<h2>Keep in mind</h2>\n<ul>\n");
    for item in mind.iter().map(|item| escaped(item)).chain([escaped(&sheet.end())]) {
        page.extend(["<li>", &coded(&item), "</li>\n"]);
    }
    page.push_str("</ul>\n</body>\n</html>\n");
    Ok(page)
}

/// Draws a text as a QR code, a unit each module.
fn draw(text: &str, page: &mut String) -> Result<()> {
    let mut scratch = Zeroizing::new([0; LARGEST.buffer_len()]);
    let mut modules = Zeroizing::new([0; LARGEST.buffer_len()]);
    let code = QrCode::encode_text(
        text,
        scratch.as_mut_slice(),
        modules.as_mut_slice(),
        QrCodeEcc::Quartile,
        Version::MIN,
        LARGEST,
        None,
        true,
    )
    .map_err(|error| Error::refused(format!("the QR code cannot be drawn: {error}")))?;
    let side = QUIET.saturating_mul(2).saturating_add(code.size());
    let side = side.to_string();
    page.extend(["<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", &side, " ", &side]);
    page.push_str("\" shape-rendering=\"crispEdges\" role=\"img\" aria-label=\"The key as a QR code\">\n");
    page.extend([
        "<rect width=\"",
        &side,
        "\" height=\"",
        &side,
        "\" fill=\"#fff\"/>\n<path fill=\"#000\" d=\"",
    ]);
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
            let [left, top] = [x, y].map(|place| QUIET.saturating_add(place).to_string());
            page.extend(["M", &left, " ", &top, "h1v1h-1z"]);
        }
    }
    page.push_str("\"/>\n</svg>\n");
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What stands between grave accents is something to type.
fn coded(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() })
        .collect()
}
