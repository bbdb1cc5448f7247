#include "loop/worker.h"
