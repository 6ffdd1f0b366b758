'use strict';
/* global Clusters, Explore, Findings, Models, Photograph, Samples, Shell */
// The last script: everything is there.

Shell.start([Explore, Samples, Clusters, Findings, Models, Photograph]);
