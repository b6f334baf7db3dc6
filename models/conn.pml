/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of src/engine's hand-overs of a connection: an accept thread, a home poller with edge-
 * triggered events and an inbox, a stage, and a client that sends, pipelines, hangs up. One slot,
 * which several connections use one after the other. Checked over all interleavings:
 *
 *   - nobody touches a connection while another does          (assert in touch)
 *   - each move of the owner word finds what it expects       (assert in move)
 *   - a request of a connection that stays open is answered: a lost event, return or wake-up would
 *     leave the client waiting                                (no invalid end state)
 *   - the slot comes back: the next connection gets it        (likewise)
 *
 *   scripts/check-models
 *
 * The kernel is given more freedom than it takes: an event that was reported once may be reported
 * again, later, when its connection is long closed; and epoll_ctl(ADD) may fail.
 *
 * With -DBUG=n the model has a deliberate bug, which the check must find:
 *   1  an event of a lent connection is acted upon
 *   2  the generation of an event is not compared
 *   3  a closed slot is free at once, not after the batch
 *   4  an event of a lent connection is not noted
 *   5  the stage looks at the connection once more after giving it back
 *   6  the poller sleeps without looking at its inbox again
 *   7  the accept thread writes to the connection after epoll_ctl(ADD)
 *   8  the deadline goes on while the connection is lent
 *   9  the poller uses a connection from its inbox without taking it back
 *  10  a lent connection is closed when its client hangs up
 *
 * The model is sequentially consistent. That the orders in use suffice is argued in engine/conn.h,
 * engine/poller.c and docs/threads.md.
 */
#ifndef BUG
#define BUG 0
#endif
#define CONNECTIONS 3
#define REQUESTS 2

/* Owners. */
#define FREE 0
#define HANDED 1
#define POLLER 2
#define STAGE 3
#define RETURNED 4

/* Who touches. */
#define NOBODY 0
#define BY_ACCEPT 1
#define BY_POLLER 2
#define BY_STAGE 3

/* The slot. */
byte owner = FREE;
byte generation;
bool is_open;               /* fd >= 0 */
bool away;                  /* state == CONN_AWAY */
bool readable;
bool half_closed;
byte input;                 /* requests that have been read and not been answered */
bool deadline_set;
byte touching = NOBODY;
bool in_free_list = true;

/* The kernel's side. */
bool registered;
byte registered_word;       /* the generation in epoll_data */
bool edge;                  /* an event waits */
byte unread;                /* requests in the socket */
bool hung_up;
byte late_left = 1;         /* how often an event may still be reported again */
bool was_reported;
byte reported_word;
bool doorbell;

/* Hand-overs. */
bool in_ring;
bool in_inbox;
bool asleep;
byte timeouts_left = 1;

/* What the clients know. */
byte connection;            /* how many have been accepted */
byte sent;                  /* requests of the one in progress */
byte answered;
bool is_over;               /* the one in progress is closed, or was never taken */

/* A use of the connection takes two steps, between which nobody else may be there. */
inline touch(who)
{
    atomic { assert(touching == NOBODY); touching = who }
    touching = NOBODY
}

inline move(from, to)
{
    atomic { assert(owner == from); owner = to }
}

proctype accepter()
{
    byte word;
    do
    :: connection < CONNECTIONS ->
        atomic { in_free_list; in_free_list = false }
        touch(BY_ACCEPT);
        is_open = true;
        word = generation;
        move(FREE, HANDED);
        if
        :: atomic { /* epoll_ctl(ADD); it can be written to at once, which is the first event */
                registered = true;
                registered_word = word;
                unread = 0;
                hung_up = false;
                sent = 0;
                answered = 0;
                is_over = false;
                connection++;
                edge = true
            }
#if BUG == 7
            touch(BY_ACCEPT)
#endif
        :: true -> /* it fails */
            move(HANDED, FREE);
            touch(BY_ACCEPT);
            atomic { in_free_list = true; connection++; is_over = true }
        fi;
        is_over /* the next client comes when this one has gone */
    :: else -> break
    od
}

/* Each pipelines its requests or waits for their answers, and hangs up some time. */
proctype clients()
{
    byte mine;
    do
    :: atomic { registered && !hung_up && sent < REQUESTS -> sent++; unread++; edge = true }
    :: atomic { registered && !hung_up -> hung_up = true; edge = true }
    :: atomic { registered && !hung_up && sent > answered -> mine = connection }
        /* Waits: the answers come, or the end does. */
        (answered >= sent || is_over || connection != mine)
    :: connection == CONNECTIONS && is_over -> break
    od
}

proctype stage()
{
end:
    do
    :: in_ring ->
        in_ring = false;
        touch(BY_STAGE);
        move(STAGE, RETURNED);
        in_inbox = true;
#if BUG == 5
        touch(BY_STAGE);
#endif
        if
        :: asleep -> atomic { asleep = false; doorbell = true }
        :: else
        fi
    od
}

inline close_conn()
{
    assert(!away);
    assert(owner == POLLER);
    touch(BY_POLLER);
    atomic {
        registered = false;
        edge = false;
        deadline_set = false;
        is_open = false
    }
    generation++;
#if BUG == 3
    move(POLLER, FREE);
    in_free_list = true;
    is_over = true
#else
    closed = true
#endif
}

/* Reads all there is, answers or lends, closes at the client's end. */
inline turn()
{
    do
    :: input > 0 ->
        touch(BY_POLLER);
        if
        :: atomic { input--; answered++ } /* answered at once */
        :: true ->                        /* dispatched */
            away = true;
#if BUG != 8
            deadline_set = false;
#endif
            move(POLLER, STAGE);
            in_ring = true;
            break
        fi
    :: input == 0 && readable ->
        touch(BY_POLLER);
        atomic {
            readable = false;
            input = input + unread;
            unread = 0;
            if
            :: input == 0 && hung_up -> at_end = true
            :: else
            fi
        }
        if
        :: at_end -> at_end = false; close_conn(); break
        :: input > 0 && half_closed -> readable = true /* on to the end */
        :: else
        fi
    :: input == 0 && !readable -> deadline_set = true; break
    od;
    /* The metrics follow: count_state(). */
    if
    :: !away -> touch(BY_POLLER)
    :: else
    fi
}

inline handle_event(word, hung)
{
    seen = owner;
    if
#if BUG == 2
    :: seen == FREE -> skip
#else
    :: seen == FREE || generation != word -> skip /* stale */
#endif
    :: else ->
        if
        :: !is_open -> skip /* stale */
        :: else ->
            if
            :: seen == HANDED ->
                move(HANDED, POLLER);
                away = false;
                readable = false;
                half_closed = false;
                input = 0
            :: else
            fi;
#if BUG == 4
            if
            :: !away -> readable = true; half_closed = half_closed || hung
            :: else
            fi;
#else
            readable = true;
            half_closed = half_closed || hung;
#endif
            if
#if BUG == 1
            :: away -> touch(BY_POLLER)
#elif BUG == 10
            :: away && hung -> away = false; close_conn()
#endif
            :: away -> skip
            :: !away -> turn()
            fi
        fi
    fi
}

proctype poller()
{
    byte seen;
    byte word;
    bool hung;
    bool closed = false;
    bool at_end = false;
    bool is_due = false;
    do
    :: asleep = true;
        if
#if BUG != 6
        :: in_inbox -> skip
#endif
        :: (BUG == 6 || !in_inbox) ->
end_wait:   if /* epoll_wait() */
            :: edge || doorbell
            :: atomic { timeouts_left > 0 && deadline_set -> timeouts_left-- }
                is_due = true
            :: late_left > 0 && was_reported
            fi
        fi;
        asleep = false;
        doorbell = false;
        /* The batch: what was reported before, perhaps, and what is new, in either order. */
        do
        :: edge ->
            atomic {
                edge = false;
                word = registered_word;
                hung = hung_up;
                was_reported = true;
                reported_word = word
            }
            handle_event(word, hung)
        :: atomic { late_left > 0 && was_reported -> late_left--; word = reported_word; hung = false }
            handle_event(word, hung)
        :: break
        od;
        if
        :: in_inbox ->
            in_inbox = false;
#if BUG != 9
            move(RETURNED, POLLER);
#endif
            touch(BY_POLLER);
            away = false;
            atomic { input--; answered++ }
            turn()
        :: else
        fi;
        if
        :: is_due && deadline_set -> is_due = false; close_conn()
        :: else -> is_due = false
        fi;
        if
        :: closed ->
            closed = false;
            move(POLLER, FREE);
            atomic { in_free_list = true; is_over = true }
        :: else
        fi
    od
}

init
{
    atomic {
        run accepter();
        run clients();
        run poller();
        run stage()
    }
}
