#include "loop/child.h"
