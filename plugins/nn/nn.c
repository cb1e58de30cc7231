/* nn.c: the plugin `nn`: operators that are made of others, each a factory of "tenon.op/1". */
#include "nn.h"

#include "nn-lua.h"

#define NN_LIST(ident) &nn_factory_##ident,
static const TnFactory *const factories[] = { NN_OPERATORS(NN_LIST) NULL };

static const TnLuaModule layers = { .size = sizeof(TnLuaModule),
                                    .name = "nn",
                                    .bytes = tn_lua_nn_nn,
                                    .n_bytes = tn_lua_nn_nn_size,
                                    .path = "plugins/nn/nn.lua" };
static const TnLuaModule *const modules[] = { &layers, NULL };

static const TnPlugin plugin = { TN_PLUGIN_HEAD("nn", TN_PLUGIN_VERSION, "Apache-2.0",
                                                "Composite operators: activations, norms, losses, "
                                                "attention, recurrent cells, optimiser steps"),
                                 .factories = factories, .modules = modules };

TN_PLUGIN(nn, plugin)
