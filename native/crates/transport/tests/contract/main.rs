//! What every transport must keep, run over each of them; and what only TCP can suffer: broken peers and
//! garbage.

mod calls;
mod flow;
mod pages;
mod server;
mod tcp_faults;

use std::sync::Arc;
use transport::{InProcessTransport, TcpTransport, Transport};

fn tcp() -> Arc<dyn Transport> {
    Arc::new(TcpTransport::new())
}

fn in_process() -> Arc<dyn Transport> {
    Arc::new(InProcessTransport::new())
}

macro_rules! contract {
    ($($module:ident::$test:ident,)*) => {
        mod over_tcp {
            $( #[test] fn $test() { crate::$module::$test(crate::tcp()); } )*
        }
        mod over_memory {
            $( #[test] fn $test() { crate::$module::$test(crate::in_process()); } )*
        }
    };
}

contract! {
    calls::payloads_arrive_whole_both_ways,
    calls::many_threads_share_a_connection,
    calls::whoever_waits_for_an_answer_sends_what_is_held_back_first,
    calls::answers_may_come_in_any_order,
    calls::one_way_messages_arrive_in_order,
    calls::a_call_without_answer_times_out_and_the_connection_goes_on,
    calls::a_late_answer_is_dropped,
    calls::nobody_listens,
    calls::an_address_is_taken_once,
    calls::errors_arrive_as_errors,
    calls::a_request_that_is_dropped_is_answered,
    calls::a_panicking_handler_costs_its_connection_only,
    calls::the_server_can_push_to_its_caller,
    calls::deadlines_reach_the_handler,
    flow::a_payload_that_nobody_pulls_is_skipped,
    flow::a_server_that_does_not_read_holds_back_its_callers,
    flow::a_pool_without_room_holds_back_the_reader,
    flow::calls_in_flight_are_limited,
    flow::unanswered_requests_are_limited,
    flow::a_caller_that_does_not_read_its_answers_gets_no_more,
    flow::answering_never_waits_for_a_caller,
    flow::closing_ends_every_call_once,
    flow::dropping_a_connection_tells_the_server,
    flow::a_closed_listener_ends_its_connections_and_its_address_is_free,
    flow::closing_releases_writers_that_wait,
    flow::answers_pass_writers_that_wait,
    pages::pages_and_memory_arrive_in_their_order,
    pages::many_answers_of_pages_share_a_connection,
    pages::closing_gives_pages_back,
}
