//! The page at `/`: where everything is, and how the process fares at the moment.

use crate::status::{Status, table};

/// The page for this status. The figures are text of our own, and still escaped.
pub(super) fn render(status: &Status) -> String {
    let figures = escape(&table(status));
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>anteroom</title>
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
 pre {{ font: 14px/1.45 ui-monospace, monospace; padding: 1rem; overflow-x: auto; border: 1px solid #8886; border-radius: .5rem }}
 nav a {{ margin-right: 1rem }}
</style></head><body>
<h1>anteroom</h1>
<nav><a href="/status">status (JSON)</a><a href="/metrics">metrics</a><a href="/healthz">alive?</a><a href="/readyz">ready?</a></nav>
<pre>{figures}</pre>
<p>Orders are given with POST: <code>/drain</code> finishes what is under way and ends,
<code>/stop</code> ends at once; <code>anteroom drain</code> and <code>anteroom stop</code> do it for you.</p>
</body></html>
"#
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
