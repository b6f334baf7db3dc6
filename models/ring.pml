/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of src/ring: two producers, two stages with a thread each, a small ring, and a close that
 * may come at any moment. Checked over all interleavings:
 *
 *   - no claim overwrites an item that the last stage has not released     (assert in claim)
 *   - a stage handles every item once, in order, after the stage before    (asserts in handle)
 *   - when nothing can move any more, all threads have ended and all that was claimed is handled:
 *     a lost wake-up would leave a thread in its sleep                     (no invalid end state)
 *
 *   scripts/check-models
 *
 * With -DBUG=n the model has a deliberate bug, which the check must find:
 *   1  a stage sleeps without looking again after wait_prepare()
 *   2  a waker looks at the word before its publication is visible (store buffering)
 *   3  the gate moves before the items of a batch are handled
 *   4  a thread that ends does not wake the next stage's
 *   5  the end of a closed ring is not looked at again before sleeping
 *
 * The model is sequentially consistent but for bug 2, which moves the look to where the hardware
 * may move it. That acquire and release suffice is argued in ring/wait.h and ring/ring.h.
 */
#ifndef BUG
#define BUG 0
#endif
#define SLOTS 2
#define PRODUCERS 2
#define CLAIMS 2            /* tries of each producer */
#define ITEMS 4             /* PRODUCERS * CLAIMS */
#define AWAKE 0
#define SLEEPING 1

byte cursor;                /* next sequence to claim */
bool closed;                /* the cursor's closed bit: written in one step with it */
byte stamp[SLOTS];          /* sequence + 1 */
byte item[SLOTS];           /* sequence + 1 again: what the slot holds */
byte progress[2];           /* of each stage */
byte handled[2];            /* items that each stage has handled */
byte word[2];               /* the wait of each stage's thread */
bool queued[2];             /* the thread is in FUTEX_WAIT */

/* One exchange; FUTEX_WAKE is a step of its own. */
inline wake(thread)
{
    atomic {
        seen = word[thread];
        word[thread] = AWAKE;
    }
    if
    :: seen == SLEEPING -> queued[thread] = false
    :: else
    fi
}

inline wake_after_look(thread)
{
    if
    :: seen == SLEEPING ->
        word[thread] = AWAKE;
        queued[thread] = false
    :: else
    fi
}

proctype producer()
{
    byte tries = 0;
    byte first = 0;
    byte seen = AWAKE;
    bool claimed;

    do
    :: tries < CLAIMS ->
        tries++;
        atomic { /* the compare-and-exchange, with a gate that is no newer than the truth */
            claimed = false;
            if
            :: !closed && cursor + 1 - progress[1] <= SLOTS ->
                first = cursor;
                cursor++;
                claimed = true;
                assert(first < SLOTS || handled[1] > first - SLOTS)
            :: else
            fi
        }
        if
        :: claimed ->
            item[first % SLOTS] = first + 1;
#if BUG == 2
            seen = word[0];
            stamp[first % SLOTS] = first + 1;
            wake_after_look(0)
#else
            stamp[first % SLOTS] = first + 1;
            wake(0)
#endif
        :: else
        fi
    :: else -> break
    od
}

proctype closer()
{
    byte seen;
    closed = true;
    wake(0)
}

#define READY (stage == 0 && stamp[next % SLOTS] == next + 1 || stage == 1 && progress[0] > next)
#define FINISHED (closed && next >= cursor)

proctype consumer(byte stage)
{
    byte next = 0;
    byte seen;

    do
    :: READY ->
#if BUG == 3
        progress[stage] = next + 1;
#endif
        assert(item[next % SLOTS] == next + 1);
        assert(handled[stage] == next);
        assert(stage == 0 || handled[0] > next);
        handled[stage]++;
        next++;
#if BUG != 3
        progress[stage] = next;
#endif
        if
        :: stage == 0 -> wake(1)
        :: else
        fi
    :: !READY ->
        if
        :: FINISHED -> break
        :: else ->
            word[stage] = SLEEPING;
            if
#if BUG == 5
            :: BUG != 1 && READY -> word[stage] = AWAKE
#else
            :: BUG != 1 && (READY || FINISHED) -> word[stage] = AWAKE
#endif
            :: else ->
                atomic { /* FUTEX_WAIT compares and queues in one step */
                    if
                    :: word[stage] == SLEEPING -> queued[stage] = true
                    :: else
                    fi
                }
                !queued[stage]; /* sleeps */
            fi
        fi
    od;
#if BUG != 4
    if
    :: stage == 0 -> wake(1)
    :: else
    fi;
#endif
    assert(handled[stage] == cursor)
}

init
{
    atomic {
        byte i;
        for (i : 1 .. PRODUCERS) {
            run producer()
        }
        run consumer(0);
        run consumer(1);
        run closer()
    }
}
