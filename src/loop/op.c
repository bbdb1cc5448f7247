#include "loop/op.h"
