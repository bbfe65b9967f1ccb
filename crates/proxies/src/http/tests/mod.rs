//! The HTTP proxy on a real pool, worked as the worker works it but without sockets.

mod admission;
mod again;
mod challenges;
mod desk;
mod forms;
mod ids;
mod interim;
mod notes;
mod properties;
mod recoded;
mod refusals;
mod requests;
mod responses;
mod samples;
mod shortage;
mod source;
mod trailers;
mod uploads;
