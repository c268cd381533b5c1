//! The Sequencer's core without a runtime: its steps one by one with the requests that they cost, simulated worlds with
//! faults, and arbitrary results of the upstream.

mod copies;
mod faults;
mod halts;
mod lifecycle;
mod looks;
mod news;
mod pushes;
mod request_budget;
mod resets;
mod rig;
mod simulation;
