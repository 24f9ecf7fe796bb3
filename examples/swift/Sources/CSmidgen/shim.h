#include <smidgen.h>
