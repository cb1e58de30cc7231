/* costs.h: what choosing a kernel reads of a table of measured times. */
#pragma once

#include <tenon/cost.h>

typedef struct {
    const char *id; /* "TABLE RANK" */
    double us;
} TnCost;

typedef struct {
    const char *key;
    guint n_times; /* at least 1 */
    TnCost *times; /* the shortest first */
} TnCostRow;

/* The row of the node of that text, else the nearest in reach; NULL: none. (transfer none). */
const TnCostRow *tn_costs_find(const TnCosts *costs, const char *key);
