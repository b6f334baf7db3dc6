/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list: a doubly linked ring. The head is a link too, and an empty list's head is linked to itself,
 * as is a link that is in no list.
 *
 * Owns nothing: links lie in what is listed, which must outlive its place in the list. One thread
 * at a time.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

struct list_link {
    struct list_link *next;
    struct list_link *previous;
};

/* Of a head: an empty list. Of a link: in no list. */
static inline void list_init(struct list_link *link)
{
    link->next = link->previous = link;
}

static inline bool list_is_empty(const struct list_link *head)
{
    return head->next == head;
}

/* Takes it out of whatever list it is in, if any. */
static inline void list_remove(struct list_link *link)
{
    link->next->previous = link->previous;
    link->previous->next = link->next;
    list_init(link);
}

/* Makes it the last one of the list, out of whatever list it is in. */
static inline void list_move(struct list_link *head, struct list_link *link)
{
    list_remove(link);
    link->next = head;
    link->previous = head->previous;
    head->previous->next = link;
    head->previous = link;
}

/* Moves all of `from` behind the last one of the list, in constant time. */
static inline void list_move_all(struct list_link *head, struct list_link *from)
{
    if (list_is_empty(from)) {
        return;
    }
    head->previous->next = from->next;
    from->next->previous = head->previous;
    head->previous = from->previous;
    head->previous->next = head;
    list_init(from);
}

#endif
