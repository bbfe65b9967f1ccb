//! Visits of those who listen to an event stream: to its end, or until one side leaves.

use std::io;

use blackbox::client::Client;

use crate::clients::Guest;
use crate::scene::is_wait;

/// One stream.
pub(crate) fn visit(guest: &mut Guest) -> io::Result<()> {
    guest.rest(50);
    let (events, seed) = (guest.random.below(20), guest.random.number());
    let pause = guest.random.below(30);
    let ends = ["done", "leaves", "silent"];
    let end = ends[guest.random.below(ends.len())];
    let ask = guest.scene.events(&format!("/events/{events}/{seed}/{pause}/{end}"));
    let mut client = guest.connect()?;
    if end == "done" && !guest.random.once_in(4) {
        return guest.ask(&mut client, &ask);
    }
    client.try_send(&ask.bytes)?;
    if end == "leaves" {
        // What the server has not ended is not whole, whatever came of it.
        match client.try_response() {
            Ok(answer) if answer.status == 200 => {
                guest.scene.wrong(format!("a stream that was left after {events} is whole"));
            }
            Ok(_) => guest.refused(),
            Err(error) if is_wait(&error) => {
                guest.scene.wrong("a stream that was left has no end".to_owned());
            }
            Err(_) => guest.right(),
        }
        return Ok(());
    }
    // The client leaves, be the stream silent or not.
    let most = ask.body.len() / 2 + 1;
    let most = guest.random.below(most);
    let heard = hear(&mut client, most);
    if let Err(error) = heard.as_ref()
        && (ask.calm || is_wait(error))
    {
        guest.scene.wrong(format!("a stream, {end}, hearing {most} bytes: {error}"));
    }
    if !heard? {
        guest.refused();
        return Ok(());
    }
    guest.right();
    if guest.random.once_in(2) {
        client.reset();
    }
    Ok(())
}

/// The head of a stream and so many bytes of it; false if there is another answer.
fn hear(client: &mut Client, bytes: usize) -> io::Result<bool> {
    // Its first line is that of an answer.
    let head = client.reader().request_head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if !head.start.starts_with("HTTP/1.1 200 ") {
        return Ok(false);
    }
    client.reader().skip(bytes)?;
    Ok(true)
}
